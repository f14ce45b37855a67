import { LRUCache } from "lru-cache";
import type { Cache } from "./cache.ts";
import { uncounted, type CacheCount } from "./cache-meter.ts";

/** In this process alone. @param options.maxSize of all together, in what `sizeOf` counts; one value takes a sixteenth of it at most */
export function createMemoryCache<Value extends NonNullable<unknown>>(options: {
  maxEntries: number;
  maxSize?: number;
  sizeOf?: (value: Value, key: string) => number;
  count?: CacheCount;
  /** Epoch milliseconds. */
  now?: () => number;
}): Cache<Value> {
  const { maxEntries, maxSize, sizeOf = () => 1, count = uncounted, now = Date.now } = options;
  const kept = new LRUCache<string, { value: Value; until: number }>({
    max: maxEntries,
    ...(maxSize !== undefined && {
      maxSize,
      maxEntrySize: Math.floor(maxSize / 16),
      sizeCalculation: ({ value }, key) => sizeOf(value, key),
    }),
  });
  const making = new Map<string, Promise<Value>>();

  function find(key: string): Value | undefined {
    const entry = kept.get(key);
    const isGood = entry !== undefined && now() < entry.until;
    if (isGood) count.hit();
    else count.miss();
    return isGood ? entry.value : undefined;
  }
  const keep = (key: string, value: Value, ttlMs = Infinity) => void kept.set(key, { value, until: now() + ttlMs });

  return {
    get: async (key) => find(key),
    set: async (key, value, ttlMs) => keep(key, value, ttlMs),
    async delete(key) {
      kept.delete(key);
      making.delete(key);
    },
    async wrap(key, make, ttlMs) {
      const running = making.get(key);
      if (running) return running;
      const known = find(key);
      if (known !== undefined) return known;
      const made = make();
      making.set(key, made);
      try {
        const value = await made;
        if (making.get(key) === made) keep(key, value, typeof ttlMs === "function" ? ttlMs(value) : ttlMs);
        return value;
      } finally {
        if (making.get(key) === made) making.delete(key);
      }
    },
  };
}
