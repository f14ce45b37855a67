export {
  TASK_KINDS,
  TASK_RESULT_TYPES,
  TASK_STATUSES,
  isTerminal,
  type NewTask,
  type Task,
  type TaskError,
  type TaskEvent,
  type TaskKind,
  type TaskStatus,
} from "./task.ts";
export type { RegistrationOptions, TaskHandler, TaskQueue, TaskRun, TaskWorker } from "./task-queue.ts";
export type { TaskFilter, TaskStore } from "./task-store.ts";
export { createTaskStore } from "./task-store.sql.ts";
export { createTaskQueue, type EmbeddedTaskQueueOptions } from "./task-queue.embedded.ts";
export { openTaskQueue } from "./open-task-queue.ts";
