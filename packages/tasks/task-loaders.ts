import { createLoader, createPageLoader, type Loader, type PageLoader } from "@toolyard/service-kit";
import type { Task, TaskKind } from "./task.ts";
import type { TaskStore } from "./task-store.ts";

/** One set for each operation. */
export interface TaskLoaders {
  taskById: Loader<string, Task | null>;
  /** Of a task. */
  result: Loader<string, unknown>;
  ofTool: PageLoader<{ kind: TaskKind | null }, Task>;
}

export function createTaskLoaders(store: TaskStore): TaskLoaders {
  return {
    taskById: createLoader((ids) => store.getMany(ids)),
    result: createLoader((ids) => store.resultsOf(ids)),
    ofTool: createPageLoader({
      pages: (toolIds, { kind }, page) => store.pagesOfTools(toolIds, kind, page),
      counts: (toolIds, { kind }) => store.countsOfTools(toolIds, kind),
    }),
  };
}
