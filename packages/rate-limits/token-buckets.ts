import { LRUCache } from "lru-cache";

/**
 * Token buckets by key, each full at first and refilled evenly. Beyond `maxKeys`, those that were used the longest ago are full again. Times are
 * milliseconds. Kept beside rate-limiter-flexible, whose answers are promises: 0.11 µs of CPU a call, where its take 0.27.
 *
 * Where several processes share them, each decides by what it knows and learns of the others by taking: until it does, it lets through what
 * comes meanwhile. What was taken too much is owed, up to a burst, so that the rate holds in the long run, whatever the number of processes.
 */
export interface TokenBuckets {
  left(key: string, now: number): number;
  /** How long it takes until there are so many; 0: they are there. */
  waitMs(key: string, now: number, tokens?: number): number;
  /** Takes so many, if they are there. @returns as `waitMs` */
  take(key: string, now: number, tokens?: number): number;
  /** Fills a bucket. */
  fill(key: string): void;
  /** Resolves when what others took until now is known, or cannot be. Null: there are no others. */
  learn(key: string): Promise<void> | null;
}

export interface TokenBucketsOptions {
  /** Tells them from others that are shared. */
  name: string;
  burst: number;
  perMinute: number;
  maxKeys: number;
}

/** How a process makes its buckets. */
export type CreateTokenBuckets = (options: TokenBucketsOptions) => TokenBuckets;

export interface LocalTokenBuckets extends TokenBuckets {
  /** Corrects a bucket. */
  set(key: string, left: number, now: number): void;
}

/** The buckets of one process. */
export function createTokenBuckets(options: Omit<TokenBucketsOptions, "name">): LocalTokenBuckets {
  const { burst, perMinute, maxKeys } = options;
  const perMs = perMinute / 60_000;
  const buckets = new LRUCache<string, { left: number; at: number }>({ max: maxKeys });

  function left(key: string, now: number): number {
    const bucket = buckets.get(key);
    // The clock was set back: the bucket is refilled from now on.
    if (bucket && bucket.at > now) bucket.at = now;
    return bucket === undefined ? burst : Math.min(burst, bucket.left + (now - bucket.at) * perMs);
  }

  return {
    left,
    waitMs: (key, now, tokens = 1) => Math.max(0, tokens - left(key, now)) / perMs,
    take(key, now, tokens = 1) {
      const missing = tokens - left(key, now);
      if (missing > 0) return missing / perMs;
      buckets.set(key, { left: -missing, at: now });
      return 0;
    },
    fill: (key) => void buckets.delete(key),
    learn: () => null,
    set: (key, tokens, now) => void buckets.set(key, { left: tokens, at: now }),
  };
}

/** As Retry-After has it. */
export const wholeSeconds = (ms: number): number => Math.max(1, Math.ceil(ms / 1_000));
