import type { EventLog } from "@toolyard/events";
import type { JobLeases } from "@toolyard/scheduler";
import type { Page, Rows } from "@toolyard/service-kit";
import type { LongWork } from "@toolyard/storage";
import type { NewTask, Task, TaskError, TaskEvent, TaskKind, TaskStatus } from "./task.ts";

/** The right to run a task until `leaseUntil`; each run has one of its own. */
export interface Lease {
  taskId: string;
  leaseId: string;
}

export interface ClaimedTask {
  task: Task;
  lease: Lease;
}

export interface TaskFilter {
  status?: TaskStatus | null | undefined;
  kind?: TaskKind | null | undefined;
  toolId?: string | null | undefined;
}

/**
 * Tasks' rows, which are the truth: queues only say "look". Several processes may open the same store. Each operation is one
 * transaction that also appends the event of the change. Operations of a lease that was taken over or given back, or whose task has
 * ended, do nothing and answer false (or null): a run's outcome counts once.
 */
export interface TaskStore {
  readonly events: EventLog<TaskEvent>;

  /** QUEUED; durable when it returns. */
  insert(task: NewTask): Promise<Task>;
  /** In the order of `ids`; null where there is none. */
  getMany(ids: readonly string[]): Promise<(Task | null)[]>;
  /** Of these tasks, in their order: JSON, null until SUCCEEDED. @throws ToolyardError UPSTREAM_UNAVAILABLE where they are kept apart, and away */
  resultsOf(ids: readonly string[]): Promise<unknown[]>;
  /** Newest first, one more than `page.limit`, and the count of all that match. */
  list(filter: TaskFilter, page: Page): Rows<Task>;
  /** A page of each tool, as `list`; of one kind where one is given. */
  pagesOfTools(toolIds: readonly string[], kind: TaskKind | null, page: Page): Promise<Task[][]>;
  countsOfTools(toolIds: readonly string[], kind: TaskKind | null): Promise<number[]>;
  /** How many there are of each status, zeros included. */
  countByStatus(): Promise<Record<TaskStatus, number>>;
  /** How many tasks came to each status by this store since it was opened, zeros included. */
  readonly transitions: Readonly<Record<TaskStatus, number>>;

  /**
   * Takes tasks that are due, of each kind as many as `room` says: RUNNING ones whose lease has ended before QUEUED ones, those that a user
   * waits for before others, and of each those due longest. Tasks found on the way that have no run left become FAILED, those to be cancelled CANCELLED.
   * @param atOnce How many of each kind begin at once, all unless given: others count as an attempt when they are first written of, and so not where
   * their process ends before they begin.
   */
  claim(
    room: ReadonlyMap<TaskKind, number>,
    leaseMs: number,
    atOnce?: ReadonlyMap<TaskKind, number>,
  ): Promise<ClaimedTask[]>;
  /** When the next task of these kinds is due (epoch ms, possibly past); null when none waits or runs. */
  nextDueAt(kinds: readonly TaskKind[]): Promise<number | null>;
  /** Renews a lease for `leaseMs` from now. False: it is lost. */
  heartbeat(lease: Lease, leaseMs: number): Promise<boolean>;
  /** Those of these leases whose tasks are to be cancelled, and those that are lost. */
  inspect(leases: readonly Lease[]): Promise<{ cancelled: Lease[]; lost: Lease[] }>;
  /** `progress` from 0 to 1. */
  progress(lease: Lease, progress: number, message: string | null): Promise<boolean>;

  /**
   * RUNNING → SUCCEEDED, or CANCELLED when the task was to be cancelled meanwhile.
   * @param withinMs How long it may wait for other changes, to share their transaction; at once unless given
   */
  succeed(lease: Lease, result: unknown, withinMs?: number): Promise<boolean>;
  /** RUNNING → FAILED, or CANCELLED when the task was to be cancelled meanwhile. */
  fail(lease: Lease, error: TaskError): Promise<boolean>;
  /** RUNNING → QUEUED until `runAt` (epoch ms), or as `fail` when no run is left. */
  retry(lease: Lease, error: TaskError, runAt: number): Promise<boolean>;
  /** RUNNING → QUEUED at once, the run not counted. */
  release(lease: Lease): Promise<boolean>;
  /** RUNNING → CANCELLED. */
  cancelled(lease: Lease): Promise<boolean>;
  /**
   * Cancels a QUEUED task, or a RUNNING one whose lease has ended, at once; marks other RUNNING ones. Does nothing to an ended task.
   * Idempotent. Answers the task; null when there is none.
   */
  requestCancel(id: string): Promise<Task | null>;

  /** Removes ended tasks, their results, and events older than `at` (epoch ms); answers how many tasks. */
  trim(at: number, work?: LongWork): Promise<number>;
  /** Who does what is to be done regularly. */
  readonly leases: JobLeases;
  ping(): Promise<void>;
  close(): Promise<void>;
}
