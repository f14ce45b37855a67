/** Of refused requests: to where, and how many since the last report of that. */
export interface RefusalReport {
  refused: string;
  count: number;
}

const REPEAT_MS = 60_000;
const MAX_TARGETS = 256;
/** What a server asks for beyond so many hosts. */
const OTHERS = "further hosts";

/**
 * Reports refusals: the first of each target at once, its repetitions together after a minute, so that what a server asks for again and again
 * fills no log.
 */
export function createRefusalReports(report: (report: RefusalReport) => void): (target: string) => void {
  const waiting = new Map<string, number>();
  return function note(target) {
    const key = waiting.has(target) || waiting.size < MAX_TARGETS ? target : OTHERS;
    const count = waiting.get(key);
    waiting.set(key, (count ?? -1) + 1);
    if (count !== undefined) return;
    report({ refused: key, count: 1 });
    setTimeout(() => {
      const more = waiting.get(key) ?? 0;
      waiting.delete(key);
      if (more > 0) report({ refused: key, count: more });
    }, REPEAT_MS).unref();
  };
}
