import type { EventLogRange, FollowOptions, LoggedEvent } from "@toolyard/events";
import type { NewTask, Task, TaskEvent, TaskKind } from "./task.ts";
import type { TaskStore } from "./task-store.ts";

/** A handler's view of its run. */
export interface TaskRun {
  task: Task;
  /** As queued: parse it. */
  input: unknown;
  /** Aborts when the task is cancelled, runs too long, was taken over, or the process ends: let go within the grace time. */
  signal: AbortSignal;
  /** How far it is, from 0 to 1. Call it as often as you like: it is written a few times a second at most. */
  progress(progress: number, message?: string): void;
}

/**
 * Does the work and answers its result as JSON. May run again after a crash: its effects must be idempotent.
 * An error ends the task, unless it may pass by itself (see retry.ts): then the task is run again later.
 */
export type TaskHandler = (run: TaskRun) => Promise<unknown>;

export interface RegistrationOptions {
  /** Tasks of this kind that this process runs at once. */
  concurrency?: number;
  /** Milliseconds until a run is ended as failed (TIMEOUT). */
  timeoutMs?: number;
}

/** Runs the tasks of one kind in this process. */
export interface TaskWorker {
  /**
   * Takes no more tasks and ends those that run: handlers get the signal, their tasks go back to QUEUED. Returns within the queue's
   * grace time, also where a handler does not let go.
   */
  close(): Promise<void>;
}

/**
 * Background work that outlives processes. The contract of every adapter (task-queue.contract.ts):
 * - an enqueued task is durable and is run at least once by a process that has registered its kind, those that a user asked for before others, and
 *   each oldest first;
 * - while a run's lease holds, which its process renews, nobody else runs the task; when the process dies, another run begins;
 * - the outcome of one run counts: that of a run whose lease was lost does not;
 * - errors that may pass are retried with growing delays until `maxAttempts`;
 * - every change of state is an event, in the order of the changes, written together with it.
 */
export interface TaskQueue {
  /** The rows, for reading. */
  readonly store: TaskStore;
  /** Durable when it returns. */
  enqueue(task: NewTask): Promise<Task>;
  /** Begins to run tasks of `kind`. @throws Error when this queue already runs them. */
  register(kind: TaskKind, handler: TaskHandler, options?: RegistrationOptions): TaskWorker;
  /**
   * CANCELLED at once where it only waits; where it runs, its handler's signal aborts and it is CANCELLED when the handler ends.
   * An ended task stays as it is. Null when there is none.
   */
  cancel(id: string): Promise<Task | null>;
  /** The tail of the tasks' events. @throws as EventTail.follow */
  follow(options: FollowOptions<TaskEvent>): AsyncIterableIterator<LoggedEvent<TaskEvent>>;
  /** The range of the tasks' events, as EventTail.range. */
  eventRange(): Promise<EventLogRange>;
  /** Closes all workers and streams. */
  close(): Promise<void>;
}
