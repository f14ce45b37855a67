/* oxlint-disable no-restricted-imports, no-restricted-properties -- the one place where tests wait by the clock */
import { setTimeout as delay } from "node:timers/promises";
import { PATIENCE } from "./patience.ts";

const MAX_PAUSE_MS = 50;

/**
 * Polls until `check` answers something truthy, and answers that. The deadline is only there so that a failure says what it
 * waited for: it is meant to be longer than anything takes on a busy machine, and `PATIENCE` times as long.
 * @throws Error with `what`, and the last answer or error, after that
 */
export async function eventually<Result>(
  what: string,
  check: () => Promise<Result> | Result,
  timeoutMs = 60_000,
): Promise<Exclude<Result, undefined | null | false | 0 | "">> {
  const waitsMs = timeoutMs * PATIENCE;
  const deadline = performance.now() + waitsMs;
  let last: unknown;
  for (let pauseMs = 2; ; pauseMs = Math.min(MAX_PAUSE_MS, pauseMs * 1.5)) {
    try {
      const result = await check();
      // What is truthy is none of these.
      if (result) return result as Exclude<Result, undefined | null | false | 0 | "">;
      last = result;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline)
      throw new Error(`${what} did not happen within ${waitsMs} ms; last: ${String(last)}`, { cause: last });
    await delay(pauseMs);
  }
}
