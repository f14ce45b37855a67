import { GraphQLError, type ExecutionResult } from "graphql";
import type { AdmittedOperation } from "./admission.ts";
import type { GraphRequest } from "./execution/executor.ts";
import type { Graph, LiveGraph } from "./live-graph.ts";
import { sequenceOf } from "./subscriptions/bounded-stream.ts";
import { resumeAfter } from "./subscriptions/last-event-id.ts";

export interface FollowGraphOptions {
  live: LiveGraph;
  request: GraphRequest;
  /** The subscription on a graph, or why that graph does not allow it. */
  admit(graph: Graph): AdmittedOperation | readonly GraphQLError[];
  /** Called once, when the stream has ended in whatever way. */
  onEnd(): void;
}

type Results = AsyncGenerator<ExecutionResult, void, void>;

/**
 * A subscription that outlives a change of the supergraph without its client noticing. Where the new graph would do the same by the
 * same subgraphs, the stream just goes on; where it is planned otherwise, it is opened anew, after the last sequence delivered when the
 * field has `after` and its events say their `sequence`; where the new graph does not allow it, it ends with an error that says so.
 * Without `after` to go on from, what happens between the two streams is not seen, as at any reconnect.
 */
export function followGraph(options: FollowGraphOptions): Results {
  const { live, request, admit, onEnd } = options;
  let held = live.hold();
  let stream = held.graph.executor.subscribe(validated(request, admit(held.graph)));
  let pending: Promise<IteratorResult<ExecutionResult, void>> | null = null;
  let lastSequence: string | null = null;
  let hasEnded = false;
  let swapped = Promise.withResolvers<"swapped">();
  let isStale = false;
  const stopListening = live.onSwap(() => {
    isStale = true;
    swapped.resolve("swapped");
  });

  function end(): void {
    if (hasEnded) return;
    hasEnded = true;
    stopListening();
    held.release();
    onEnd();
  }

  /** Goes over to the graph in service. @returns an error when the subscription cannot */
  async function move(): Promise<readonly GraphQLError[] | null> {
    isStale = false;
    swapped = Promise.withResolvers();
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
    if ((await wayOf(held.graph, request)) === (await wayOf(next.graph, request))) {
      next.release();
      return null;
    }
    const { executor } = next.graph;
    const resumed =
      lastSequence === null
        ? validated(request, admitted)
        : { ...resumeAfter(executor, request, lastSequence), signal: request.signal };
    const before = { stream, held };
    stream = executor.subscribe(resumed);
    held = next;
    // The new one is opened before the old one is closed.
    pending = stream.next();
    pending.catch(() => undefined); // met by whoever takes the next result
    await before.stream.return();
    before.held.release();
    return null;
  }

  async function next(): Promise<IteratorResult<ExecutionResult, void>> {
    while (!hasEnded) {
      pending ??= stream.next();
      const outcome = isStale ? "swapped" : await Promise.race([pending, swapped.promise]);
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
      lastSequence = sequenceOf(outcome.value) ?? lastSequence;
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

/** How a graph would run a subscription: equal texts, the same fetches from the same places. */
async function wayOf(graph: Graph, request: GraphRequest): Promise<string | null> {
  try {
    const plan = JSON.stringify(await graph.executor.explain(request));
    return `${plan} ${[...graph.subgraphUrls]
      .map(([name, url]) => `${name} ${url}`)
      .sort()
      .join()}`;
  } catch (error) {
    if (error instanceof GraphQLError) return null;
    throw error;
  }
}

function validated(request: GraphRequest, admitted: AdmittedOperation | readonly GraphQLError[]): GraphRequest {
  return "hash" in admitted ? { ...request, validDocument: admitted.validDocument } : request;
}
