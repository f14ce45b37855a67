/** Values that several hold under one key: made for the first, let go with the last. */
export interface RefCountedMap<Value> {
  acquire(key: string, create: () => Value): Value;
  release(key: string): void;
  get(key: string): Value | undefined;
  values(): Iterable<Value>;
}

export function createRefCountedMap<Value>(onLetGo: (value: Value) => void = () => undefined): RefCountedMap<Value> {
  const shares = new Map<string, { value: Value; holders: number }>();
  return {
    acquire(key, create) {
      const share = shares.get(key) ?? { value: create(), holders: 0 };
      share.holders += 1;
      shares.set(key, share);
      return share.value;
    },
    release(key) {
      const share = shares.get(key);
      if (!share) return;
      share.holders -= 1;
      if (share.holders > 0) return;
      shares.delete(key);
      onLetGo(share.value);
    },
    get: (key) => shares.get(key)?.value,
    *values() {
      for (const { value } of shares.values()) yield value;
    },
  };
}
