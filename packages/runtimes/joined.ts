type Source<Item> = (until: AbortSignal) => AsyncGenerator<Item>;

/** The items of both as they come, until the first ends, its reader leaves or `signal` is aborted; both sources are ended then. */
export async function* joined<Item>(
  first: Source<Item>,
  second: Source<Item>,
  signal: AbortSignal,
): AsyncGenerator<Item> {
  const over = new AbortController();
  const until = AbortSignal.any([signal, over.signal]);
  const leading = first(until);
  const next = async (source: AsyncGenerator<Item>) => ({ source, result: await source.next() });
  const waiting = new Map([leading, second(until)].map((source) => [source, next(source)]));
  try {
    while (waiting.has(leading)) {
      const { source, result } = await Promise.race(waiting.values());
      waiting.delete(source);
      if (result.done) continue;
      waiting.set(source, next(source));
      yield result.value;
    }
  } finally {
    over.abort();
    await Promise.allSettled(waiting.values());
  }
}
