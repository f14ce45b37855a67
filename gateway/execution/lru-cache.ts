export interface LruCache<Value> {
  get(key: string): Value | undefined;
  set(key: string, value: Value): void;
  clear(): void;
  readonly size: number;
}

/** Keeps the `maxEntries` most recently used values. */
export function createLruCache<Value>(options: { maxEntries: number }): LruCache<Value> {
  const { maxEntries } = options;
  const entries = new Map<string, Value>();
  return {
    get(key) {
      const value = entries.get(key);
      if (value === undefined) return undefined;
      // A Map iterates in insertion order: re-inserting makes the entry the youngest. Needless while nothing is ever evicted.
      if (entries.size * 2 > maxEntries) {
        entries.delete(key);
        entries.set(key, value);
      }
      return value;
    },
    set(key, value) {
      entries.delete(key);
      entries.set(key, value);
      if (entries.size <= maxEntries) return;
      for (const oldest of entries.keys()) {
        entries.delete(oldest);
        break;
      }
    },
    clear: () => entries.clear(),
    get size() {
      return entries.size;
    },
  };
}
