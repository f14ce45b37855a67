/** How often durations occurred, in Apollo's buckets: each a tenth wider than the one before, the first up to a microsecond. */
export interface DurationHistogram {
  add(milliseconds: number): void;
  /** Counts by bucket; a run of n empty ones is -n, a single one 0. */
  toArray(): number[];
}

const BUCKETS = 384;
const GROWTH = Math.log(1.1);

export function createDurationHistogram(): DurationHistogram {
  const counts: number[] = [];
  return {
    add(milliseconds) {
      const bucket = bucketOf(milliseconds);
      while (counts.length <= bucket) counts.push(0);
      counts[bucket] = (counts[bucket] ?? 0) + 1;
    },
    toArray() {
      const packed: number[] = [];
      let empty = 0;
      for (const count of counts) {
        if (count === 0) {
          empty++;
          continue;
        }
        if (empty > 0) packed.push(empty === 1 ? 0 : -empty);
        empty = 0;
        packed.push(count);
      }
      return packed;
    },
  };
}

function bucketOf(milliseconds: number): number {
  const bucket = Math.ceil(Math.log(milliseconds * 1_000) / GROWTH);
  // Also for a duration of zero, which has no logarithm.
  return bucket > 0 ? Math.min(bucket, BUCKETS - 1) : 0;
}
