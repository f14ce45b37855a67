export type UsageWindow = "HOUR" | "DAY" | "WEEK" | "MONTH";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** Two resolutions of stored buckets: minutes for the last hour, hours for all that is longer. */
export const RESOLUTIONS_MS = [MINUTE, HOUR] as const;
/** Minutes are of no use once they are out of the shortest window. */
export const MINUTES_KEPT_MS = 2 * HOUR;

const shapes: Record<UsageWindow, { resolutionMs: number; stepMs: number; steps: number }> = {
  HOUR: { resolutionMs: MINUTE, stepMs: MINUTE, steps: 60 },
  DAY: { resolutionMs: HOUR, stepMs: HOUR, steps: 24 },
  WEEK: { resolutionMs: HOUR, stepMs: 6 * HOUR, steps: 28 },
  MONTH: { resolutionMs: HOUR, stepMs: 24 * HOUR, steps: 30 },
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
