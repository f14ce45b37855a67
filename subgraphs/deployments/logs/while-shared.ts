import { endableStream } from "@toolyard/events/endable-stream.ts";
import type { ShareChange } from "@toolyard/service-kit";

/**
 * A stream for one who reads it by a share: it ends with FORBIDDEN as soon as the share does not suffice.
 * @param changes All changes of shares. When they break, it is looked at once more, and the stream ends: changes may be missed.
 * @param check Throws when the reader may not read any more.
 */
export function whileShared<Item>(
  items: AsyncIterableIterator<Item>,
  options: {
    changes: (signal: AbortSignal) => AsyncIterable<ShareChange>;
    isConcerned: (change: ShareChange) => boolean;
    check: () => Promise<void>;
  },
): AsyncIterableIterator<Item> {
  const { changes, isConcerned, check } = options;
  const ended = new AbortController();

  async function watch(): Promise<void> {
    try {
      for await (const change of changes(ended.signal)) if (isConcerned(change)) await check();
    } catch {
      // The share is lost, or changes broke: what follows says which, in words for the reader.
    }
    await check();
  }

  const lost = Promise.withResolvers<IteratorResult<Item, undefined>>();
  const end = () => lost.resolve({ done: true, value: undefined });
  void watch().then(end, lost.reject);
  // It is told by the reader's next step; without one, it is of no interest.
  lost.promise.catch(() => undefined);

  return endableStream<Item>({
    async next() {
      try {
        const step = await Promise.race([lost.promise, items.next() as Promise<IteratorResult<Item, undefined>>]);
        if (step.done) await this.end();
        return step;
      } catch (error) {
        await this.end();
        throw error;
      }
    },
    async end() {
      ended.abort();
      await items.return?.();
    },
  });
}
