import type { EventTail, FollowOptions } from "./event-tail.ts";
import type { LoggedEvent } from "./event-log.ts";
import { endableStream } from "./endable-stream.ts";

/**
 * A log's tail as a GraphQL subscription's source: each event mapped, and `return()` ends it at once, also while it waits for
 * the next event (a generator alone runs its `finally` only once it wakes). `map` may answer undefined to leave an event out.
 */
export function subscriptionStream<Payload, Item>(
  tail: Pick<EventTail<Payload>, "follow">,
  options: Omit<FollowOptions<Payload>, "signal">,
  map: (event: LoggedEvent<Payload>) => Item | undefined | Promise<Item | undefined>,
): AsyncIterableIterator<Item> {
  const ended = new AbortController();
  const events = tail.follow({ ...options, signal: ended.signal });
  return endableStream({
    async next() {
      while (!ended.signal.aborted) {
        const step = await events.next();
        if (step.done) break;
        const item = await map(step.value);
        if (item !== undefined) return { done: false, value: item };
      }
      return { done: true, value: undefined };
    },
    async end() {
      ended.abort();
      await events.return?.();
    },
  });
}
