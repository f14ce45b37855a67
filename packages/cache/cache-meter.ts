import type { Metrics } from "@toolyard/service-kit/process/metrics.ts";
import { Gauge } from "@toolyard/service-kit/process/prometheus.ts";

/** Counts what is looked for in one cache. */
export interface CacheCount {
  hit(): void;
  miss(): void;
}

/** Shows how good the caches of a process are: `cache_hits_total`, `cache_misses_total` and `cache_hit_rate`, by cache. */
export interface CacheMeter {
  /** @param cache its name in the code, never a text of others */
  of(cache: string): CacheCount;
}

/** For those that nobody looks at. */
export const uncounted: CacheCount = { hit: () => undefined, miss: () => undefined };

export function createCacheMeter(metrics: Metrics): CacheMeter {
  const labelNames = ["cache"] as const;
  const hits = metrics.counter({ name: "cache_hits_total", help: "Values that a cache had.", labelNames });
  const misses = metrics.counter({ name: "cache_misses_total", help: "Values that a cache had not.", labelNames });
  const all = new Map<string, { hits: number; misses: number }>();
  new Gauge({
    name: "cache_hit_rate",
    help: "Share of what was looked for in a cache that it had, since the start.",
    labelNames,
    registers: [metrics.registry],
    collect() {
      for (const [cache, seen] of all)
        this.set({ cache }, seen.hits + seen.misses === 0 ? 0 : seen.hits / (seen.hits + seen.misses));
    },
  });
  return {
    of(cache) {
      const seen = all.get(cache) ?? { hits: 0, misses: 0 };
      all.set(cache, seen);
      const [hit, miss] = [hits.series({ cache }), misses.series({ cache })];
      return {
        hit() {
          seen.hits += 1;
          hit.inc();
        },
        miss() {
          seen.misses += 1;
          miss.inc();
        },
      };
    },
  };
}
