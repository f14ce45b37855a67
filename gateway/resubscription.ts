import { createHash } from "node:crypto";
import { GraphQLError, type ExecutionResult } from "graphql";
import type { AdmittedOperation } from "./admission.ts";
import type { GraphRequest } from "./execution/executor.ts";
import type { Graph, LiveGraph } from "./live-graph.ts";
import { resumeAfter } from "./subscriptions/last-event-id.ts";
import { sequenceOf } from "./subscriptions/log-position.ts";

export interface FollowGraphOptions {
  live: LiveGraph;
  request: GraphRequest;
  /** The subscription on a graph, or why that graph does not allow it. */
  admit(graph: Graph): AdmittedOperation | readonly GraphQLError[];
  /** How long is waited, more or less, before a stream that broke is opened again: so often, unless events came in between. */
  reopenMs?: readonly number[];
}

const RETRY_MS = 1_000;

type Results = AsyncGenerator<ExecutionResult, void, void>;
type Step = IteratorResult<ExecutionResult, void>;

/**
 * A subscription that outlives a change of the supergraph without its client noticing. Where the new graph would do the same by the
 * same subgraphs, the stream just goes on, and the old graph is let go of; where it is planned otherwise, it is opened anew, after the
 * last sequence delivered when the field has `after` and its events say their `sequence`; where the new graph does not allow it, it ends
 * with an error that says so. Without `after` to go on from, what happens between the two streams is not seen, as at any reconnect.
 */
export function followGraph(options: FollowGraphOptions): Results {
  const { live, request, admit, reopenMs = [100, 1_000, 4_000] } = options;
  let held = live.hold();
  /** How `stream` is run; not asked for before there is something to compare with. */
  let way: string | null = null;
  let stream = held.graph.executor.subscribe(validated(request, admit(held.graph)));
  let pending: Promise<Step> | null = null;
  let lastSequence: string | null = null;
  let hasEnded = false;
  /** How often the stream was opened again since the last event. */
  let reopened = 0;
  let stopWaiting: (() => void) | null = null;
  let isStale = false;
  /** Ends a wait for the next result. */
  let onStale: (() => void) | null = null;
  const onSwap = () => {
    isStale = true;
    onStale?.();
  };
  const stopListening = live.onSwap(onSwap);
  let retry: NodeJS.Timeout | undefined;

  function end(): void {
    if (hasEnded) return;
    hasEnded = true;
    stopListening();
    clearTimeout(retry);
    stopWaiting?.();
    held.release();
  }

  /** Goes over to the graph in service. @returns an error when the subscription cannot */
  async function move(): Promise<readonly GraphQLError[] | null> {
    isStale = false;
    const next = live.hold();
    const admitted = admit(next.graph);
    if (!("hash" in admitted)) {
      next.release();
      await stream.return();
      const reasons = admitted.map(({ message }) => message).join(" ");
      return [
        new GraphQLError(`The graph has changed and no longer allows this subscription. ${reasons}`, {
          extensions: { code: "SUBSCRIPTION_SCHEMA_CHANGED", lastSequence },
        }),
      ];
    }
    let nextWay: string | null;
    try {
      way ??= await wayOf(held.graph, request);
      nextWay = await wayOf(next.graph, request);
    } catch (error) {
      next.release();
      if (!isBusy(error)) throw error;
      // Planners have much to do just after a swap: the stream goes on as it is, and this is tried again.
      if (!hasEnded) retry = setTimeout(onSwap, RETRY_MS * (1 + Math.random())).unref();
      return null;
    }
    if (hasEnded) {
      next.release();
      return null;
    }
    const before = { stream, held };
    held = next;
    if (way !== null && way === nextWay) {
      // Its clients are the next graph's, too.
      before.held.release();
      return null;
    }
    way = nextWay;
    const { executor } = next.graph;
    const resumed =
      lastSequence === null
        ? validated(request, admitted)
        : { ...resumeAfter(executor.inspect(request), request, lastSequence), signal: request.signal };
    stream = executor.subscribe(resumed);
    // The new one is opened before the old one is closed.
    pending = stream.next();
    pending.catch(() => undefined); // met by whoever takes the next result
    await before.stream.return();
    before.held.release();
    return null;
  }

  /** Not by racing with a promise for the swap: that would keep each result until there is one. */
  function resultOrSwap(result: Promise<Step>): Promise<Step | "swapped"> {
    return new Promise((resolve, reject) => {
      onStale = () => resolve("swapped");
      result.then(resolve, reject);
    });
  }

  /**
   * Opens a stream that broke again, after the last sequence delivered: a subgraph that was restarted, or that lost patience with a
   * slow client, is nothing that clients need to know of. @returns whether that was tried
   */
  async function reopen({ errors, data }: ExecutionResult): Promise<boolean> {
    const isBroken = data === undefined && errors?.[0]?.extensions["code"] === "UPSTREAM_UNAVAILABLE";
    const waitMs = reopenMs[reopened];
    if (!isBroken || waitMs === undefined || lastSequence === null) return false;
    const resumed = resumeAfter(held.graph.executor.inspect(request), request, lastSequence);
    if (resumed === request) return false;
    reopened++;
    await stream.return();
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, waitMs * (0.5 + Math.random()));
    stopWaiting = resolve;
    await promise;
    clearTimeout(timer);
    if (!hasEnded) stream = held.graph.executor.subscribe({ ...resumed, signal: request.signal });
    return true;
  }

  async function next(): Promise<Step> {
    while (!hasEnded) {
      pending ??= stream.next();
      const outcome = isStale ? "swapped" : await resultOrSwap(pending);
      if (hasEnded) break;
      if (outcome === "swapped") {
        const errors = await move();
        if (!errors) continue;
        end();
        return { done: false, value: { errors } };
      }
      pending = null;
      if (outcome.done) {
        end();
        break;
      }
      if (outcome.value.errors && (await reopen(outcome.value))) continue;
      const sequence = sequenceOf(outcome.value);
      if (sequence !== null) {
        lastSequence = sequence;
        reopened = 0;
      }
      return outcome;
    }
    return { done: true, value: undefined };
  }

  const results: Results = {
    async next() {
      try {
        return await next();
      } catch (error) {
        end();
        throw error;
      }
    },
    async return() {
      const open = stream;
      end();
      await open.return();
      return { done: true, value: undefined };
    },
    async throw(error: unknown) {
      await results.return();
      throw error;
    },
    [Symbol.asyncIterator]: () => results,
    async [Symbol.asyncDispose]() {
      await results.return();
    },
  };
  return results;
}

/**
 * How a graph would run a subscription, as a hash: the same for the same fetches from the same places. Null when it would not.
 * @throws GraphQLError when it cannot be said now
 */
async function wayOf(graph: Graph, request: GraphRequest): Promise<string | null> {
  try {
    const plan = JSON.stringify(await graph.executor.explain(request));
    const places = [...graph.subgraphUrls]
      .filter(([name]) => plan.includes(`"subgraph":${JSON.stringify(name)}`))
      .map(([name, url]) => `${name} ${url}`);
    return createHash("sha256").update(`${plan} ${places.sort().join()}`).digest("base64");
  } catch (error) {
    if (error instanceof GraphQLError && !isBusy(error)) return null;
    throw error;
  }
}

function isBusy(error: unknown): boolean {
  return error instanceof GraphQLError && error.extensions["code"] === "CAPACITY_EXHAUSTED";
}

function validated(request: GraphRequest, admitted: AdmittedOperation | readonly GraphQLError[]): GraphRequest {
  return "hash" in admitted ? { ...request, validDocument: admitted.validDocument } : request;
}
