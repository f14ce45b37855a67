import { LRUCache } from "lru-cache";

/** Token buckets by key: as many calls at once as a minute's worth, refilled evenly. */
export interface RateLimiter {
  /** Takes one call. 0 when it may go on, else seconds (whole, at least 1) until one may. */
  take(key: string, now: number): number;
}

/** The number of keys kept: beyond it, the oldest begin anew. */
const MAX_KEYS = 20_000;

/** @param callsPerMinute 0: no bound. */
export function createRateLimiter(options: { callsPerMinute: number }): RateLimiter {
  const { callsPerMinute } = options;
  if (callsPerMinute === 0) return { take: () => 0 };
  const perMs = callsPerMinute / 60_000;
  const buckets = new LRUCache<string, { left: number; at: number }>({ max: MAX_KEYS });
  return {
    take(key, now) {
      let bucket = buckets.get(key);
      if (!bucket) {
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
}
