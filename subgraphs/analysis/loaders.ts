import type { Task, TaskStore } from "@toolyard/tasks";
import DataLoader from "dataloader";

/** One set for each operation. */
export interface Loaders {
  taskById: DataLoader<string, Task | null>;
}

export function createLoaders(store: TaskStore): Loaders {
  return { taskById: new DataLoader((ids) => store.getMany(ids)) };
}
