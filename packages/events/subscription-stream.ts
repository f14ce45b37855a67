import type { EventTail, FollowOptions } from "./event-tail.ts";
import type { LoggedEvent } from "./event-log.ts";

/**
 * A log's tail as a GraphQL subscription's source: each event mapped, and `return()` ends it at once, also while it waits for
 * the next event (a generator alone runs its `finally` only once it wakes). `map` may answer undefined to leave an event out.
 */
export function subscriptionStream<Payload, Item>(
  tail: EventTail<Payload>,
  options: Omit<FollowOptions<Payload>, "signal">,
  map: (event: LoggedEvent<Payload>) => Item | undefined | Promise<Item | undefined>,
): AsyncIterableIterator<Item> {
  const ended = new AbortController();
  const events = tail.follow({ ...options, signal: ended.signal });
  const end = async (): Promise<IteratorReturnResult<undefined>> => {
    ended.abort();
    await events.return?.();
    return { done: true, value: undefined };
  };
  return {
    async next() {
      while (!ended.signal.aborted) {
        const step = await events.next();
        if (step.done) break;
        const item = await map(step.value);
        if (item !== undefined) return { done: false, value: item };
      }
      return { done: true, value: undefined };
    },
    return: end,
    async throw(error) {
      await end();
      throw error;
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
