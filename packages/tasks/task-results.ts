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
