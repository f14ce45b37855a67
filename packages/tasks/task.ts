/**
 * Every kind of background work that the graph knows, and the GraphQL type of its result. Each is queued and run by one subgraph. A task's
 * stored result is the JSON of that type, links as bare ids.
 */
export const TASK_RESULT_TYPES = {
  FEASIBILITY: "FeasibilityReport",
  IMPROVEMENTS: "ImprovementReport",
  GENERATE_CONFIG: "GeneratedConfig",
  REPOSITORY_SYNC: "SyncReport",
  SECURITY_SCAN: "ScanReport",
  SMOKE_TEST: "SmokeReport",
  VALIDATION: "ValidationReport",
} as const;
export type TaskKind = keyof typeof TASK_RESULT_TYPES;
// The object's own keys are its kinds.
export const TASK_KINDS = Object.keys(TASK_RESULT_TYPES) as readonly TaskKind[];

export const TASK_STATUSES = ["QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"] as const;
export type TaskStatus = (typeof TASK_STATUSES)[number];

/** The public form of a failure: a code of the one table and a message without internals. */
export interface TaskError {
  code: string;
  message: string;
}

/** A piece of background work as its row says, without its result, which may be large. Times in epoch milliseconds. */
export interface Task {
  id: string;
  kind: TaskKind;
  status: TaskStatus;
  /** From 0 to 1. */
  progress: number;
  /** The current step, or the reason for waiting; null when there is none. */
  message: string | null;
  /** JSON, as queued. */
  input: unknown;
  /** Set where FAILED. */
  error: TaskError | null;
  /** How often it was begun; a run that a clean shutdown ended does not count. */
  attempts: number;
  maxAttempts: number;
  requestedById: string | null;
  toolId: string | null;
  /** Whose the thing is that the task is about; null for nobody's. */
  ownerId: string | null;
  /** Somebody asked to end it; a RUNNING task is CANCELLED once its handler has let go. */
  cancelRequested: boolean;
  createdAt: number;
  /** When the present or last run began; null while QUEUED. */
  startedAt: number | null;
  /** When it came to SUCCEEDED, FAILED or CANCELLED. */
  finishedAt: number | null;
}

export interface NewTask {
  kind: TaskKind;
  /** JSON that the handler of the kind understands. No secrets: rows are kept for weeks. */
  input: unknown;
  requestedById: string | null;
  toolId?: string | null;
  ownerId?: string | null;
  /** Runs before it is given up; 3 unless given. */
  maxAttempts?: number;
}

/** What the event log keeps of each change: the task as of then, without input and result. */
export interface TaskEvent {
  kind: TaskKind;
  status: TaskStatus;
  progress: number;
  message: string | null;
  attempts: number;
  toolId: string | null;
}
