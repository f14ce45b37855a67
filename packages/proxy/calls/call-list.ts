/** An item that keeps its own place in a list. */
export interface Listed {
  /** Written by the list alone. */
  place: number;
}

export interface CallList<Item extends Listed> {
  add(item: Item): void;
  /** Removes an item that is in the list. */
  delete(item: Item): void;
  size(): number;
  /** A copy: items may end during the iteration. */
  all(): Item[];
}

/**
 * Calls under way, in no order. Not a Set: V8 replaces a Set's table as entries come and go, and the old table refers to the new one and
 * still has the entries of its time. Once a table is in the old space, young collections therefore keep every later table with all its
 * calls, requests and answers, until the next full collection: that was 8 KB a call.
 */
export function createCallList<Item extends Listed>(): CallList<Item> {
  const items: Item[] = [];
  return {
    add(item) {
      item.place = items.push(item) - 1;
    },
    delete(item) {
      const last = items.pop();
      if (last === undefined || last === item) return;
      items[item.place] = last;
      last.place = item.place;
    },
    size: () => items.length,
    all: () => [...items],
  };
}
