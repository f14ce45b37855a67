import type { ErrorCode } from "@toolyard/service-kit";
import type { TaskError } from "./task.ts";

/** Of a result as JSON: every store takes so much at once. A document of MongoDB has 16 MiB, and so has a statement of MariaDB, in which a quote may take four bytes. */
export const MAX_RESULT_BYTES = 3 * 1_048_576;

/** Why a result cannot be kept; null: it can. */
export function resultProblem(result: unknown): TaskError | null {
  const bytes = Buffer.byteLength(JSON.stringify(result ?? null));
  if (bytes <= MAX_RESULT_BYTES) return null;
  const mib = (count: number) => (count / 1_048_576).toFixed(1);
  return {
    code: "PAYLOAD_TOO_LARGE" satisfies ErrorCode,
    message: `The result has ${mib(bytes)} MiB, and at most ${mib(MAX_RESULT_BYTES)} MiB of a task's are kept. Ask for less at once.`,
  };
}

/** What a run ended with. */
interface RunResult {
  /** Of its own for each write: what a task's row names does not change. */
  id: string;
  taskId: string;
  /** JSON, and not null. */
  value: unknown;
  /** When it is written, in epoch milliseconds. */
  at: number;
}

/**
 * Results where they are kept apart from the tasks' rows. A result is written before the row that names it, and removed after it, so a task
 * that succeeded always has its result. A result that no row names is nobody's, and goes with its time.
 * @throws ToolyardError UPSTREAM_UNAVAILABLE from each, where the store cannot be used
 */
export interface TaskResults {
  /** Durable when it returns. */
  write(result: RunResult): Promise<void>;
  /** The values by their ids; those that are there. */
  read(ids: readonly string[]): Promise<Map<string, unknown>>;
  /** Removes those that were written before `at` (epoch ms), until the signal aborts; answers how many. */
  trim(at: number, signal?: AbortSignal): Promise<number>;
}
