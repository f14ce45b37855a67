/**
 * Mergeable histograms of durations: DDSketch (Masson, Rim, Lee, VLDB 2019). Bucket i counts values in (γ^(i-1), γ^i]; a quantile
 * read from it is within RELATIVE_ERROR of the exact order statistic, and merging two loses nothing more.
 */
export type SparseHistogram = Record<string, number>;

/** A quantile is at most this part of its true value away from it, for values from 0.01 ms up. */
export const RELATIVE_ERROR = 0.01;

const GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR);
const LOG_GAMMA = Math.log(GAMMA);
/** Shorter than any measured duration; shorter ones count as this. */
const SHORTEST_MS = 0.01;

/** Adds one duration to `histogram`, in place. */
export function addDuration(histogram: SparseHistogram, durationMs: number): void {
  const index = String(Math.ceil(Math.log(Math.max(durationMs, SHORTEST_MS)) / LOG_GAMMA));
  histogram[index] = (histogram[index] ?? 0) + 1;
}

/** Adds all of `other` to `histogram`, in place. */
export function mergeInto(histogram: SparseHistogram, other: SparseHistogram): void {
  for (const [index, count] of Object.entries(other)) histogram[index] = (histogram[index] ?? 0) + count;
}

/**
 * The durations at these quantiles (0 to 1): of n values the one at rank ⌈q·n⌉, as in "95 % of calls took at most this".
 * Null where there are no values.
 */
export function quantiles(histogram: SparseHistogram, wanted: readonly number[]): (number | null)[] {
  const buckets = Object.entries(histogram)
    .map(([index, count]) => ({ index: Number(index), count }))
    .toSorted((a, b) => a.index - b.index);
  const total = buckets.reduce((sum, { count }) => sum + count, 0);
  return wanted.map((quantile) => {
    let rank = Math.max(1, Math.ceil(quantile * total));
    for (const { index, count } of buckets) {
      rank -= count;
      if (rank <= 0) return (2 * GAMMA ** index) / (GAMMA + 1);
    }
    return null;
  });
}
