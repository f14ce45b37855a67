/** Things that wait, for each caller in their order, callers in turn: one who has many waiting keeps nobody else waiting. */
export interface FairQueue<Item> {
  readonly size: number;
  sizeOf(caller: string): number;
  add(caller: string, item: Item): void;
  /** Takes the next of those callers who may have their turn. */
  take(mayRun: (caller: string) => boolean): { caller: string; item: Item } | null;
}

export function createFairQueue<Item>(): FairQueue<Item> {
  // In the order of turns: who had one goes to the end.
  const waiting = new Map<string, Item[]>();
  let size = 0;

  return {
    get size() {
      return size;
    },
    sizeOf: (caller) => waiting.get(caller)?.length ?? 0,
    add(caller, item) {
      const items = waiting.get(caller);
      if (items) items.push(item);
      else waiting.set(caller, [item]);
      size += 1;
    },
    take(mayRun) {
      for (const [caller, items] of waiting) {
        if (!mayRun(caller)) continue;
        const item = items.shift();
        waiting.delete(caller);
        if (items.length > 0) waiting.set(caller, items);
        if (item === undefined) continue;
        size -= 1;
        return { caller, item };
      }
      return null;
    },
  };
}
