/**
 * A stream whose `return` ends it at once, also while somebody waits for its next item: a generator's own would wait with them.
 * @param source.end Releases what the stream holds, so that a waiting `next` settles. Idempotent.
 */
export function endableStream<Item>(source: {
  next(): Promise<IteratorResult<Item, undefined>>;
  end(): Promise<void> | void;
}): AsyncIterableIterator<Item> {
  return {
    next: () => source.next(),
    async return() {
      await source.end();
      return { done: true, value: undefined };
    },
    async throw(error) {
      await source.end();
      throw error;
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
