import type { Caller } from "@toolyard/service-kit";
import type { SyncResult, TypedResult } from "./task-result.ts";
import type { Stub, TaskService } from "./task-service.ts";
import type { Task } from "./task.ts";

interface Context {
  tasks: TaskService;
  caller: Caller;
}

const stub = (id: string | null): Stub | null => (id === null ? null : { id });

/** The types of task.graphql, as the subgraph that serves them resolves them. */
export const taskResolvers = {
  Task: {
    __resolveReference: ({ id }: Stub, { tasks, caller }: Context) => tasks.find(caller, id),
    result: (task: Task, _args: unknown, { tasks }: Context) => tasks.resultOf(task),
    requestedBy: ({ requestedById }: Task) => stub(requestedById),
    tool: ({ toolId }: Task) => stub(toolId),
  },
  TaskResult: { __resolveType: ({ __typename }: TypedResult) => __typename },
  SyncReport: {
    toolVersion: ({ toolVersionId }: SyncResult) => stub(toolVersionId),
    documents: ({ documentIds }: SyncResult) => documentIds.map((id) => ({ id })),
  },
  Citation: { document: ({ documentId }: { documentId: string }) => ({ id: documentId }) },
};
