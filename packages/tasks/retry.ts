import { ToolyardError, isErrorCode, isPublic, type ErrorCode } from "@toolyard/service-kit";
import { databaseFailureOf, type DatabaseFailure } from "@toolyard/storage";
import type { Task, TaskError } from "./task.ts";

/** Codes of failures that may pass by themselves. An error without a public code counts as INTERNAL_SERVER_ERROR. */
const RETRYABLE: readonly ErrorCode[] = [
  "RATE_LIMITED",
  "CAPACITY_EXHAUSTED",
  "UPSTREAM_UNAVAILABLE",
  "TIMEOUT",
  "INTERNAL_SERVER_ERROR",
];
/** Of stores, likewise. */
const PASSING: readonly (DatabaseFailure | null)[] = ["conflict", "lost-connection", "no-space"];
const MAX_DELAY_MS = 60_000;

/** The public form of an error, without internals. */
export function taskErrorOf(error: unknown): TaskError {
  if (isPublic(error)) return { code: error.code, message: error.message };
  return {
    code: "INTERNAL_SERVER_ERROR",
    message: "Something went wrong while this task ran. The log has it under the task's id.",
  };
}

export function isRetryable(error: TaskError): boolean {
  return isErrorCode(error.code) && RETRYABLE.includes(error.code);
}

/** Whether a store failed in a way that may pass by itself. */
export function isOfStore(error: unknown): boolean {
  return PASSING.includes(databaseFailureOf(error)) || (isPublic(error) && error.code === "UPSTREAM_UNAVAILABLE");
}

/** Milliseconds until the next run: twice as long after each attempt, at most a minute, or what the error asks for. */
export function retryDelayMs(error: unknown, task: Task, baseMs: number): number {
  const asked = error instanceof ToolyardError ? error.extensions.retryAfterSeconds : undefined;
  if (typeof asked === "number" && asked >= 0) return asked * 1_000;
  return Math.min(MAX_DELAY_MS, baseMs * 2 ** (task.attempts - 1));
}
