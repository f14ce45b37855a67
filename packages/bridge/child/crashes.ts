/** Callers whose calls ended servers lately: only they wait before they get another one. */
export interface Crashes {
  /** Records that a server ended while it was `caller`'s. */
  count(caller: string, reason: string): void;
  /** Null when the caller may have a server now. */
  wait(caller: string): { reason: string; seconds: number } | null;
}

const FIRST_DELAY_MS = 250;
const MAX_DELAY_MS = 10_000;
/** How long until failures without another one are forgotten. */
const FORGOTTEN_AFTER_MS = 60_000;
const MAX_CALLERS = 1_000;

/** How long to wait after that many failures in a row. */
export function delayAfter(failures: number): number {
  return Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(failures - 1, 10));
}

export function createCrashes(options: { now: () => number }): Crashes {
  const { now } = options;
  /** The one that was counted longest ago comes first. */
  const counted = new Map<string, { times: number; reason: string; at: number }>();

  return {
    count(caller, reason) {
      const before = counted.get(caller);
      const isFresh = before === undefined || now() - before.at > FORGOTTEN_AFTER_MS;
      counted.delete(caller);
      counted.set(caller, { times: isFresh ? 1 : before.times + 1, reason, at: now() });
      const [oldest] = counted.keys();
      if (counted.size > MAX_CALLERS && oldest !== undefined) counted.delete(oldest);
    },
    wait(caller) {
      const entry = counted.get(caller);
      // A single one may have been bad luck.
      if (entry === undefined || entry.times < 2) return null;
      const leftMs = entry.at + delayAfter(entry.times) - now();
      return leftMs <= 0 ? null : { reason: entry.reason, seconds: Math.ceil(leftMs / 1000) };
    },
  };
}
