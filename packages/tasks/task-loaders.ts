import { createPageLoader, type PageLoader } from "@toolyard/service-kit";
import type { Task, TaskKind, TaskStore } from "@toolyard/tasks";
import DataLoader from "dataloader";

/** One set for each operation. */
export interface Loaders {
  taskById: DataLoader<string, Task | null>;
  ofTool: PageLoader<{ kind: TaskKind | null }, Task>;
}

export function createLoaders(store: TaskStore): Loaders {
  return {
    taskById: new DataLoader((ids) => store.getMany(ids)),
    ofTool: createPageLoader({
      pages: (toolIds, { kind }, page) => store.pagesOfTools(toolIds, kind, page),
      counts: (toolIds, { kind }) => store.countsOfTools(toolIds, kind),
    }),
  };
}
