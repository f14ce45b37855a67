/**
 * A stream whose `return` ends it at once, also while a `next` is pending, for which a generator's own `return` would wait.
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
