/** Token buckets by key: as many calls at once as a minute's worth, refilled evenly. */
export interface RateLimiter {
  /** Takes one call. 0 when it may go on, else seconds (whole, at least 1) until one may. */
  take(key: string, now: number): number;
}

const MAX_KEYS = 50_000;

/** @param callsPerMinute 0: no bound. */
export function createRateLimiter(options: { callsPerMinute: number }): RateLimiter {
  const { callsPerMinute } = options;
  if (callsPerMinute === 0) return { take: () => 0 };
  const perMs = callsPerMinute / 60_000;
  const buckets = new Map<string, { left: number; at: number }>();
  return {
    take(key, now) {
      let bucket = buckets.get(key);
      if (!bucket) {
        if (buckets.size >= MAX_KEYS) makeRoom(now);
        bucket = { left: callsPerMinute, at: now };
        buckets.set(key, bucket);
      }
      bucket.left = Math.min(callsPerMinute, bucket.left + Math.max(0, now - bucket.at) * perMs);
      bucket.at = now;
      if (bucket.left >= 1) {
        bucket.left -= 1;
        return 0;
      }
      return Math.max(1, Math.ceil((1 - bucket.left) / perMs / 1000));
    },
  };

  /** Forgets buckets that are full again: they say nothing. Where none is, the oldest. */
  function makeRoom(now: number): void {
    for (const [key, { at }] of buckets) if (now - at >= 60_000) buckets.delete(key);
    if (buckets.size >= MAX_KEYS) buckets.delete(buckets.keys().next().value ?? "");
  }
}
