import type { ExecutionResult } from "graphql";

/** Results as JSON, serialized once for all clients that are sent the same object one after the other. */
export interface ResultTexts {
  /** The result in JSON and a closing brace, which ends the message around it. */
  of(result: ExecutionResult): Buffer;
}

/** Clients that share a stream are sent a result right after each other; few other results come in between. */
const KEPT_RESULTS = 8;

export function createResultTexts(): ResultTexts {
  // Not a WeakMap: one with thousands of young keys keeps the garbage collector busy.
  const results = Array.from<ExecutionResult | null>({ length: KEPT_RESULTS }).fill(null);
  const texts: Buffer[] = [];
  let latest = 0;
  return {
    of(result) {
      for (let back = 0; back < KEPT_RESULTS; back++) {
        const at = (latest + KEPT_RESULTS - back) % KEPT_RESULTS;
        const text = texts[at];
        if (results[at] === result && text) return text;
      }
      latest = (latest + 1) % KEPT_RESULTS;
      const text = Buffer.from(`${JSON.stringify(result)}}`);
      results[latest] = result;
      texts[latest] = text;
      return text;
    },
  };
}
