export { TASK_KINDS, TASK_RESULT_TYPES, TASK_STATUSES, type Task, type TaskKind, type TaskStatus } from "./task.ts";
export type { RegistrationOptions, TaskHandler, TaskQueue, TaskWorker } from "./task-queue.ts";
export type { TaskFilter, TaskStore } from "./task-store.ts";
export { createTaskStore } from "./task-store.sql.ts";
export { createTaskQueue } from "./task-queue.embedded.ts";
export { openTaskQueue } from "./open-task-queue.ts";
