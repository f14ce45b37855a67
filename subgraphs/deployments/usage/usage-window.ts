export type UsageWindow = "HOUR" | "DAY" | "WEEK" | "MONTH";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
export const DAY_MS: number = 24 * HOUR;

/** Resolutions of stored buckets: minutes for the last hour, hours for the last week, days for all that is longer. */
export const RESOLUTIONS_MS: readonly number[] = [MINUTE, HOUR, DAY_MS];
/** Buckets of a resolution are of no use once they are out of the longest window that reads them. */
export const BUCKETS_KEPT_MS: ReadonlyMap<number, number> = new Map([
  [MINUTE, 2 * HOUR],
  [HOUR, 8 * DAY_MS],
  [DAY_MS, 31 * DAY_MS],
]);

const shapes: Record<UsageWindow, { resolutionMs: number; stepMs: number; steps: number }> = {
  HOUR: { resolutionMs: MINUTE, stepMs: MINUTE, steps: 60 },
  DAY: { resolutionMs: HOUR, stepMs: HOUR, steps: 24 },
  WEEK: { resolutionMs: HOUR, stepMs: 6 * HOUR, steps: 28 },
  MONTH: { resolutionMs: DAY_MS, stepMs: DAY_MS, steps: 30 },
};

export interface WindowShape {
  /** Of the buckets to read. */
  resolutionMs: number;
  stepMs: number;
  /** When each step begins, oldest first; the last holds `now`. */
  steps: number[];
}

/** A window in steps at whole multiples of their length in UTC, the current one included. */
export function windowShape(window: UsageWindow, now: number): WindowShape {
  const { resolutionMs, stepMs, steps } = shapes[window];
  const last = Math.floor(now / stepMs) * stepMs;
  return {
    resolutionMs,
    stepMs,
    steps: Array.from({ length: steps }, (_, index) => last - (steps - 1 - index) * stepMs),
  };
}
