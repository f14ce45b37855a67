import { subscriptionStream, type EventLogRange, type EventSubjects } from "@toolyard/events";
import {
  ToolyardError,
  notFound,
  parsePage,
  reachableRows,
  toConnection,
  type Caller,
  type Connection,
  type PageArguments,
} from "@toolyard/service-kit";
import type { Task, TaskKind, TaskStatus } from "./task.ts";
import { typedResult, type TypedResult } from "./task-result.ts";
import type { TaskLoaders } from "./task-loaders.ts";
import type { TaskQueue } from "./task-queue.ts";
import type { TaskFilter } from "./task-store.ts";

/** An entity of another subgraph: completed there. */
export interface Stub {
  id: string;
}

/** `status`, `progress` and `message` as of the event; `task` as of now. */
export interface TaskChange {
  sequence: string;
  /** Epoch milliseconds. */
  at: number;
  taskId: string;
  status: TaskStatus;
  progress: number;
  message: string | null;
  task: Task;
}

/** Tasks of every subgraph, as the graph shows them. Reading takes `task:read`. */
export interface TaskService {
  find(caller: Caller, id: string): Promise<Task | null>;
  list(caller: Caller, args: TaskFilter & PageArguments): Promise<Connection<Task>>;
  listOfTool(caller: Caller, toolId: string, kind: TaskKind | null, page: PageArguments): Connection<Task>;
  /** What a task that a caller may read ended with; null until it SUCCEEDED. */
  resultOf(task: Task): Promise<TypedResult | null>;
  /**
   * By who asked for it, or an administrator. An ended task is answered as it is.
   * @throws ToolyardError NOT_FOUND, FORBIDDEN
   */
  cancel(caller: Caller, id: string): Promise<Task>;
  /** Where the log of changes begins and ends. */
  logRange(caller: Caller): Promise<EventLogRange>;
  /** Changes of one task, of a tool's, or of all. @throws ToolyardError NOT_FOUND for an unknown id; BAD_USER_INPUT for a wrong `after`. */
  follow(
    caller: Caller,
    args: { id?: string | null | undefined; toolId?: string | undefined; after?: string | null | undefined },
  ): Promise<AsyncIterableIterator<{ taskUpdated: TaskChange }>>;
}

export function createTaskService(options: {
  tasks: TaskQueue;
  loaders: TaskLoaders;
  eventTasks: EventSubjects<Task>;
}): TaskService {
  const { tasks, loaders, eventTasks } = options;
  const { store } = tasks;

  return {
    async find(caller, id) {
      caller.require("task:read");
      return reached(caller, await loaders.taskById.load(id));
    },
    async list(caller, { first, after, offset, toolId, ...filter }) {
      caller.require("task:read");
      const page = parsePage({ first, after, offset });
      const rows = reachableRows(caller, toolId, page, (id, part) => store.list({ ...filter, toolId: id }, part));
      return toConnection(rows, page, (task) => task.id);
    },
    listOfTool(caller, toolId, kind, given) {
      caller.require("task:read");
      const page = parsePage(given);
      return toConnection(loaders.ofTool(toolId, { kind }, page), page, ({ id }) => id);
    },
    async resultOf(task) {
      return task.status === "SUCCEEDED" ? typedResult(task, await loaders.result.load(task.id)) : null;
    },
    async cancel(caller, id) {
      caller.require("analysis:write", undefined, "cancel tasks");
      const task = reached(caller, (await store.getMany([id]))[0]);
      if (!task) throw notFound("task", id);
      if (!caller.can("analysis:write", { ownerId: task.requestedById, toolId: task.toolId }))
        throw new ToolyardError(
          "FORBIDDEN",
          "Only the user who started this task, or an administrator, may cancel it.",
        );
      return (await tasks.cancel(id)) ?? task;
    },
    async logRange(caller) {
      caller.require("task:read");
      return tasks.eventRange();
    },
    async follow(caller, { id, toolId, after }) {
      caller.require("task:read");
      if (id != null && !reached(caller, (await store.getMany([id]))[0])) throw notFound("task", id);
      const ofStream = eventTasks.forStream();
      return subscriptionStream(
        tasks,
        {
          after: after ?? null,
          onBatch: ofStream.expect,
          ...(id != null && { subjectId: id }),
          filter: ({ payload }) =>
            caller.reaches(payload.toolId) && (toolId === undefined || payload.toolId === toolId),
        },
        async (event) => {
          const task = await ofStream.of(event);
          // Trimmed meanwhile: there is nothing left to show.
          if (!task) return undefined;
          const { status, progress, message } = event.payload;
          const sequence = String(event.sequence);
          return { taskUpdated: { sequence, at: event.at, taskId: task.id, status, progress, message, task } };
        },
      );
    },
  };
}

/** The task, unless the caller's key is limited to other tools. */
function reached(caller: Caller, task: Task | null | undefined): Task | null {
  return task && caller.reaches(task.toolId) ? task : null;
}
