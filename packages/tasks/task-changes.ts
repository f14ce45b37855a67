import { newId } from "@toolyard/service-kit";
import { PRIORITIES, type TaskRow } from "./database.ts";
import type { NewTask, TaskError, TaskStatus } from "./task.ts";

/** What becomes of a task's row, and the kind of the event that tells of it; null: nobody is told. */
export interface Change {
  row: TaskRow;
  event: string | null;
}

const DEFAULT_MAX_ATTEMPTS = 3;

const LOST_WORKER: TaskError = {
  code: "INTERNAL_SERVER_ERROR",
  message: "In every attempt, the process that ran this task ended before the task was done.",
};

/** @param at Now, in epoch milliseconds, as in all of these */
export function queued(task: NewTask, at: number): TaskRow {
  return {
    id: newId(),
    kind: task.kind,
    status: "QUEUED",
    progress: 0,
    message: null,
    input: task.input,
    resultId: null,
    errorCode: null,
    errorMessage: null,
    attempts: 0,
    maxAttempts: task.maxAttempts ?? DEFAULT_MAX_ATTEMPTS,
    requestedById: task.requestedById,
    toolId: task.toolId ?? null,
    ownerId: task.ownerId ?? null,
    cancelRequested: false,
    createdAt: at,
    startedAt: null,
    finishedAt: null,
    dueAt: at,
    priority: PRIORITIES[task.requestedById === null ? 1 : 0],
    leaseId: null,
  };
}

export const isOpen = ({ status }: Pick<TaskRow, "status">) => status === "QUEUED" || status === "RUNNING";

/**
 * A run of a task that is due, unless it must not run again: then it ends.
 * @param isAhead It may wait for others of its process, and counts as an attempt once it is written of it that it has begun
 */
export function started(row: TaskRow, leaseMs: number, at: number, isAhead = false): Change {
  if (row.cancelRequested) return ended(row, "CANCELLED", at);
  if (row.status === "RUNNING" && row.attempts >= row.maxAttempts) return failed(row, LOST_WORKER, at);
  return {
    event: "started",
    row: {
      ...row,
      status: "RUNNING",
      leaseId: newId(),
      startedAt: isAhead ? null : at,
      dueAt: at + leaseMs,
      attempts: row.attempts + (isAhead ? 0 : 1),
      progress: 0,
      message: null,
    },
  };
}

/** Whose run is known to have begun, now at the latest. */
export function begun(row: TaskRow, at: number): TaskRow {
  return row.startedAt === null ? { ...row, startedAt: at, attempts: row.attempts + 1 } : row;
}

export function renewed(row: TaskRow, leaseMs: number, at: number): Change {
  return { event: null, row: { ...begun(row, at), dueAt: at + leaseMs } };
}

export function progressed(row: TaskRow, progress: number, message: string | null, at: number): Change {
  return { event: "progress", row: { ...begun(row, at), progress, message: message?.toWellFormed() ?? null } };
}

/** @param kept The result, or where it is kept */
export function succeeded(row: TaskRow, kept: Pick<TaskRow, "result"> | Pick<TaskRow, "resultId">, at: number): Change {
  if (row.cancelRequested) return ended(row, "CANCELLED", at);
  return ended({ ...row, ...kept, progress: 1 }, "SUCCEEDED", at);
}

export function failed(row: TaskRow, { code, message }: TaskError, at: number): Change {
  if (row.cancelRequested) return ended(row, "CANCELLED", at);
  return ended({ ...row, errorCode: code, errorMessage: message.toWellFormed() }, "FAILED", at);
}

export function cancelled(row: TaskRow, at: number): Change {
  return ended(row, "CANCELLED", at);
}

/** @param runAt Epoch milliseconds */
export function retried(row: TaskRow, error: TaskError, runAt: number, at: number): Change {
  if (row.cancelRequested || row.attempts >= row.maxAttempts) return failed(row, error, at);
  const message = `Attempt ${row.attempts} of ${row.maxAttempts} failed and is repeated: ${error.message.toWellFormed()}`;
  return queuedAgain({ ...row, message, dueAt: runAt }, "retrying");
}

export function released(row: TaskRow, at: number): Change {
  if (row.cancelRequested) return ended(row, "CANCELLED", at);
  const attempts = row.startedAt === null ? row.attempts : row.attempts - 1;
  return queuedAgain({ ...row, message: null, dueAt: at, attempts }, "released");
}

/** Null where nothing changes. */
export function cancelRequested(row: TaskRow, at: number): Change | null {
  if (!isOpen(row)) return null;
  if (row.status === "QUEUED" || row.dueAt <= at) return ended(row, "CANCELLED", at);
  if (row.cancelRequested) return null;
  return { event: "cancelling", row: { ...row, cancelRequested: true, message: "It is being cancelled." } };
}

function queuedAgain(row: TaskRow, event: string): Change {
  return { event, row: { ...row, status: "QUEUED", leaseId: null, startedAt: null, progress: 0 } };
}

function ended(row: TaskRow, status: TaskStatus, at: number): Change {
  const cancelRequested = row.cancelRequested || status === "CANCELLED";
  return {
    event: status.toLowerCase(),
    row: { ...row, status, leaseId: null, finishedAt: at, message: null, cancelRequested },
  };
}
