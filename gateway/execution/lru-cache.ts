export interface LruCacheOptions {
  maxEntries: number;
  /** The most that all entries may weigh together; an entry heavier than a sixteenth of it is not kept. */
  maxWeight?: number;
}

export interface LruCache<Value> {
  get(key: string): Value | undefined;
  /** @param weight in the unit of `maxWeight`, as the length of what the value was made from */
  set(key: string, value: Value, weight?: number): void;
  /** Changes what an entry weighs, if it is there. */
  weigh(key: string, weight: number): void;
  /** All entries, without making any of them younger. */
  entries(): Iterable<[key: string, value: Value]>;
  clear(): void;
  readonly weight: number;
  readonly size: number;
}

/** Keeps the most recently used values, as many as there is room for. */
export function createLruCache<Value>(options: LruCacheOptions): LruCache<Value> {
  const { maxEntries, maxWeight = Infinity } = options;
  const entries = new Map<string, { value: Value; weight: number }>();
  let totalWeight = 0;

  function remove(key: string): void {
    const entry = entries.get(key);
    if (!entry) return;
    entries.delete(key);
    totalWeight -= entry.weight;
  }

  function makeRoom(): void {
    for (const oldest of entries.keys()) {
      if (entries.size <= maxEntries && totalWeight <= maxWeight) break;
      remove(oldest);
    }
  }

  return {
    get(key) {
      const entry = entries.get(key);
      if (entry === undefined) return undefined;
      // A Map iterates in insertion order: re-inserting makes the entry the youngest. Needless while the cache is far from full.
      if (entries.size * 2 > maxEntries || totalWeight * 2 > maxWeight) {
        entries.delete(key);
        entries.set(key, entry);
      }
      return entry.value;
    },
    set(key, value, weight = 0) {
      remove(key);
      if (weight * 16 > maxWeight) return;
      entries.set(key, { value, weight });
      totalWeight += weight;
      makeRoom();
    },
    weigh(key, weight) {
      const entry = entries.get(key);
      if (!entry) return;
      if (weight * 16 > maxWeight) return remove(key);
      totalWeight += weight - entry.weight;
      entry.weight = weight;
      makeRoom();
    },
    *entries() {
      for (const [key, { value }] of entries) yield [key, value];
    },
    clear() {
      entries.clear();
      totalWeight = 0;
    },
    get weight() {
      return totalWeight;
    },
    get size() {
      return entries.size;
    },
  };
}
