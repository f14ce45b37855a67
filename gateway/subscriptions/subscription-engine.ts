import type { ExecutionResult } from "graphql";
import type { Executor, OperationRequest } from "../execution/executor.ts";
import { logPositionOf } from "./log-position.ts";
import { createSharedUpstreams } from "./shared-upstreams.ts";

export interface SubscriptionEngineOptions {
  executor: Pick<Executor, "inspect" | "subscribe">;
  /** How many results may wait for one client. Only tests set it: a socket takes a thousand results before any waits. */
  maxQueuedEvents?: number;
  /** How long more than these may wait for a client. Only tests set it, so as not to wait for ten seconds. */
  slowConsumerGraceMs?: number;
}

/** Runs the subscriptions of all clients, whichever protocol they speak. */
export interface SubscriptionEngine {
  /**
   * Results in order, each once. The stream ends after a result with errors when it breaks, and with `extensions.code`
   * SLOW_CONSUMER and `lastSequence` when it is read too slowly. The caller ends a stream by `return` or by the signal.
   * A result may be one object for several clients.
   */
  subscribe(request: OperationRequest): AsyncGenerator<ExecutionResult, void, void>;
  /** Streams open now. */
  readonly activeStreams: number;
  /** Events dropped because a client was too slow, since the start. */
  readonly droppedEvents: number;
}

/** Gives each subscription a stream of its own. The gateway's gate is an engine whose streams are shared (`operation-gate.ts`). */
export function createSubscriptionEngine(options: SubscriptionEngineOptions): SubscriptionEngine {
  const { executor, maxQueuedEvents: maxQueued, slowConsumerGraceMs: graceMs } = options;
  const streams = createSharedUpstreams({
    open: (request) => executor.subscribe(request),
    positionOf(request) {
      const inspected = executor.inspect(request);
      return "errors" in inspected ? null : logPositionOf(inspected, request);
    },
    isSharing: false,
    ...(maxQueued !== undefined && { maxQueued }),
    ...(graceMs !== undefined && { graceMs }),
  });
  return {
    subscribe: (request) => streams.subscribe(request),
    get activeStreams() {
      return streams.activeReaders;
    },
    get droppedEvents() {
      return streams.droppedResults;
    },
  };
}
