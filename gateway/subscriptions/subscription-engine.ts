import type { ExecutionResult } from "graphql";
import type { Executor, GraphRequest } from "../execution/executor.ts";
import { createBoundedStream } from "./bounded-stream.ts";

export interface SubscriptionEngineOptions {
  executor: Pick<Executor, "subscribe">;
  /** Results that may wait for one client. */
  maxQueuedEvents?: number;
  /** How long a client's queue may stay full. */
  slowConsumerGraceMs?: number;
}

/** Runs the subscriptions of all clients, whatever protocol they speak. */
export interface SubscriptionEngine {
  /**
   * Results in order, each once. The stream ends after a result with errors when it breaks, and with `extensions.code`
   * SLOW_CONSUMER and `lastSequence` when it is read too slowly. Whoever starts a stream ends it by `return` or by the signal.
   */
  subscribe(request: GraphRequest): AsyncGenerator<ExecutionResult, void, void>;
  /** Streams open now. */
  readonly activeStreams: number;
  /** Events that were thrown away because a client was too slow, since the start. */
  readonly droppedEvents: number;
}

export function createSubscriptionEngine(options: SubscriptionEngineOptions): SubscriptionEngine {
  const { executor, maxQueuedEvents = 1_000, slowConsumerGraceMs = 10_000 } = options;
  let activeStreams = 0;
  let droppedEvents = 0;

  async function* counted(source: AsyncGenerator<ExecutionResult, void, void>) {
    activeStreams++;
    try {
      yield* source;
    } finally {
      activeStreams--;
    }
  }

  return {
    subscribe(request) {
      const source = executor.subscribe(request);
      const results = counted(source);
      return createBoundedStream({
        source: {
          next: () => results.next(),
          // The inner stream first: it is what `results` may be waiting for.
          return: async () => {
            await source.return();
            return results.return();
          },
          throw: (error: unknown) => results.throw(error),
          [Symbol.asyncIterator]() {
            return this;
          },
          async [Symbol.asyncDispose]() {
            await this.return();
          },
        },
        maxQueued: maxQueuedEvents,
        graceMs: slowConsumerGraceMs,
        onOverflow: (dropped) => {
          droppedEvents += dropped;
        },
      });
    },
    get activeStreams() {
      return activeStreams;
    },
    get droppedEvents() {
      return droppedEvents;
    },
  };
}
