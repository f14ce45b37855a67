import { createHash } from "node:crypto";
import { GraphQLError, type ExecutionResult } from "graphql";
import { graphqlError } from "@toolyard/service-kit/errors/graphql-error.ts";
import type { AdmittedOperation } from "../admission/admission.ts";
import type { OperationRequest } from "../execution/executor.ts";
import type { Graph, LiveGraph } from "../supergraph/live-graph.ts";
import { resumeAfter } from "./last-event-id.ts";
import { logPositionOf, sequenceOf } from "./log-position.ts";

export interface FollowGraphOptions {
  live: LiveGraph;
  request: OperationRequest;
  /** The subscription on a graph, or the error for which that graph refuses it. */
  admit(graph: Graph): AdmittedOperation | readonly GraphQLError[];
  /**
   * Delays, before jitter, between attempts to open a broken stream again; the count starts anew once a stream went well. The
   * default lasts long enough for a subgraph to restart; only tests, which would wait for a minute, give others.
   */
  reopenMs?: readonly number[];
}

const RETRY_MS = 1_000;
const REOPEN_MS = [100, 250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 30_000];
/** A stream that was open this long counts as having gone well, even if its events have no position in a log. */
const STEADY_MS = 10_000;

type Results = AsyncGenerator<ExecutionResult, void, void>;
type Step = IteratorResult<ExecutionResult, void>;

/**
 * A subscription that outlives a change of the supergraph without its client noticing. Where the new graph would do the same by the
 * same subgraphs, the stream just goes on, and the old graph is released; where it is planned otherwise, it is opened anew, after the
 * last sequence delivered when the field has `after` and its events say their `sequence`; where the new graph does not allow it, it ends
 * with an error that says so. Without `after` to go on from, events between the two streams are lost, as at any reconnect.
 *
 * It outlives a restart of its subgraph in the same way: a stream that was open and broke is opened again, with back-off. The client
 * gets an error only when retries keep failing, or would repeat events. Services get it at once: they follow by themselves, and say
 * meanwhile that they are cut off.
 */
export function followGraph(options: FollowGraphOptions): Results {
  const { live, request, admit } = options;
  const isService = request.context.caller.kind === "service";
  const { reopenMs = isService ? [] : REOPEN_MS } = options;
  let held = live.hold();
  /** How `stream` is run; computed only when there is something to compare with. */
  let hash: string | null = null;
  /** Whether any stream was open: a stream that fails from the beginning is reported at once. */
  let wasOpen = false;
  let openedAt = 0;
  /** How often the stream was opened again since the last event. */
  let reopened = 0;
  const onOpen = () => {
    wasOpen = true;
    openedAt = performance.now();
  };
  const open = (graph: Graph, asked: Omit<OperationRequest, "signal">): Results =>
    graph.executor.subscribe({
      ...asked,
      signal: request.signal,
      onOpen,
      isRetried: isService || reopened > 0,
    });
  const first = admit(held.graph);
  /** Whether its events have a position in a log: a field `sequence` of another kind is none. */
  const readsLog = "hash" in first && logPositionOf(first, request) !== null;
  let stream = open(held.graph, request);
  let pending: Promise<Step> | null = null;
  let lastSequence: string | null = null;
  let hasDelivered = false;
  let hasEnded = false;
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

  /** Switches to the graph in service. @returns an error when the subscription cannot */
  async function move(): Promise<readonly GraphQLError[] | null> {
    isStale = false;
    const next = live.hold();
    const admitted = admit(next.graph);
    if (!("hash" in admitted)) {
      next.release();
      await stream.return();
      const reasons = admitted.map(({ message }) => message).join(" ");
      return [
        graphqlError(
          "SUBSCRIPTION_SCHEMA_CHANGED",
          `The graph has changed and no longer allows this subscription. ${reasons}`,
          { extensions: { ...(lastSequence !== null && { lastSequence }) } },
        ),
      ];
    }
    let nextHash: string | null;
    try {
      hash ??= await executionHashOf(held.graph, request);
      nextHash = await executionHashOf(next.graph, request);
    } catch (error) {
      next.release();
      if (!isBusy(error)) throw error;
      // Planners are busy just after a swap: the stream goes on as it is, and this is tried again.
      if (!hasEnded) retry = setTimeout(onSwap, RETRY_MS * (1 + Math.random())).unref();
      return null;
    }
    if (hasEnded) {
      next.release();
      return null;
    }
    const before = { stream, held };
    held = next;
    if (hash !== null && hash === nextHash) {
      // Its clients belong to the next graph as well.
      before.held.release();
      return null;
    }
    hash = nextHash;
    stream = open(next.graph, resumedOn(admitted) ?? request);
    // The new stream is opened before the old one is closed.
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

  /** The subscription from its current position; null when it reads a log, and its events do not carry their position. */
  function resumedOn(admitted: AdmittedOperation): Omit<OperationRequest, "signal"> | null {
    const position = logPositionOf(admitted, request);
    if (position && lastSequence !== null) return resumeAfter(admitted, request, lastSequence);
    return position && hasDelivered && position.after !== null ? null : request;
  }

  /**
   * Opens a broken stream again: clients need not know that a subgraph was restarted, or that it lost patience with a slow
   * client. @returns whether that was tried
   */
  async function reopen({ errors, data }: ExecutionResult): Promise<boolean> {
    const isBroken = data === undefined && errors?.[0]?.extensions["code"] === "UPSTREAM_UNAVAILABLE";
    const waitMs = reopenMs[reopened];
    if (!isBroken || waitMs === undefined || !wasOpen) return false;
    const admitted = admit(held.graph);
    const resumed = "hash" in admitted ? resumedOn(admitted) : null;
    if (!resumed) return false;
    reopened++;
    await stream.return();
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, waitMs * (0.5 + Math.random())).unref();
    stopWaiting = resolve;
    await promise;
    clearTimeout(timer);
    if (!hasEnded) stream = open(held.graph, resumed);
    return true;
  }

  /** The error with which the stream ends, and the position to go on from for clients that can. */
  function told(result: ExecutionResult): ExecutionResult {
    const [error] = result.errors ?? [];
    if (!error || result.data !== undefined || lastSequence === null) return result;
    if (error.extensions["code"] !== "UPSTREAM_UNAVAILABLE") return result;
    const message = error.message.replace(/Subscribe again\.$/, `Subscribe again, after the sequence ${lastSequence}.`);
    return { errors: [new GraphQLError(message, { extensions: { ...error.extensions, lastSequence } })] };
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
      const { errors, data } = outcome.value;
      if (errors && (await reopen(outcome.value))) continue;
      if (data === undefined) return { done: false, value: told(outcome.value) };
      const sequence = readsLog ? sequenceOf(outcome.value) : null;
      hasDelivered = true;
      if (sequence !== null) lastSequence = sequence;
      if (sequence !== null || performance.now() - openedAt > STEADY_MS) reopened = 0;
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
 * How a graph would run a subscription, as a hash: equal for equal fetches from equal places. Null when it would refuse it.
 * @throws GraphQLError when it cannot be determined now
 */
async function executionHashOf(graph: Graph, request: OperationRequest): Promise<string | null> {
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
