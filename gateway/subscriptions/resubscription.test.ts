import { anonymous } from "@toolyard/service-kit";
import { GraphQLError, type ExecutionResult } from "graphql";
import { describe, expect, test, vi } from "vitest";
import type { AdmittedOperation } from "../admission/admission.ts";
import type { QueryPlan } from "../execution/planning/query-plan.ts";
import type { Graph, LiveGraph } from "../supergraph/live-graph.ts";
import { followGraph } from "./resubscription.ts";

const QUERY = "subscription { changed }";

interface Subject {
  graph: Graph;
  /** Followers that hold it. */
  holds: number;
  /** Streams opened on it and not returned. */
  open: number;
  emit(value: string): void;
}

/** A graph that plans the subscription as one fetch from `subgraph`, at the URL given. */
function subjectOf(options: { subgraph?: string; urls?: Record<string, string>; busyTimes?: number } = {}): Subject {
  const { subgraph = "a", urls = { a: "http://a/" } } = options;
  let busyTimes = options.busyTimes ?? 0;
  const plan: QueryPlan = {
    node: {
      kind: "Subscription",
      primary: {
        kind: "Fetch",
        subgraph,
        operation: QUERY,
        operationKind: "subscription",
        variables: [],
        requires: null,
        inputRewrites: [],
        outputRewrites: [],
      },
    },
  };
  const waiting: ((result: IteratorResult<ExecutionResult, void>) => void)[] = [];
  const executor = {
    explain: async () => {
      if (busyTimes-- > 0) throw new GraphQLError("Too many.", { extensions: { code: "CAPACITY_EXHAUSTED" } });
      return plan;
    },
    subscribe: () => {
      subject.open += 1;
      return {
        next: () => new Promise((resolve) => waiting.push(resolve)),
        return: async () => {
          subject.open -= 1;
          return { done: true, value: undefined };
        },
      };
    },
  };
  const subject: Subject = {
    // All that a follower asks of a graph.
    graph: { executor, subgraphUrls: new Map(Object.entries(urls)) } as unknown as Graph,
    holds: 0,
    open: 0,
    emit: (changed) => waiting.shift()?.({ done: false, value: { data: { changed } } }),
  };
  return subject;
}

function liveOf(first: Subject) {
  let current = first;
  const listeners = new Set<() => void>();
  const live: Pick<LiveGraph, "hold" | "onSwap"> = {
    hold() {
      const held = current;
      held.holds += 1;
      return { graph: held.graph, release: () => (held.holds -= 1) };
    },
    onSwap(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
  const admitted: AdmittedOperation = { hash: "h" } as AdmittedOperation; // what a follower reads of it
  const results = followGraph({
    // What a follower asks of it.
    live: live as LiveGraph,
    request: { query: QUERY, context: { caller: anonymous, requestId: "r" } },
    admit: () => admitted,
  });
  return {
    results,
    swap(next: Subject) {
      current = next;
      for (const listener of listeners) listener();
    },
  };
}

describe("a subscription over a swap", () => {
  test("that is run the same way goes on in its stream, and the old graph is let go of", async () => {
    const [old, next] = [subjectOf(), subjectOf()];
    const { results, swap } = liveOf(old);
    const first = results.next();
    swap(next);
    await expect.poll(() => [old.holds, next.holds]).toEqual([0, 1]);
    old.emit("still here");
    expect(await first).toMatchObject({ value: { data: { changed: "still here" } } });
    expect([old.open, next.open]).toEqual([1, 0]);
    // It is compared with what it does, not with the graph that it holds.
    const moved = subjectOf({ urls: { a: "http://elsewhere/" } });
    const second = results.next();
    swap(moved);
    await expect.poll(() => [old.open, moved.open, next.holds, moved.holds]).toEqual([0, 1, 0, 1]);
    moved.emit("there");
    expect(await second).toMatchObject({ value: { data: { changed: "there" } } });
    await results.return();
    expect([moved.open, moved.holds]).toEqual([0, 0]);
  });

  test("goes on where only subgraphs come, go or move that it does not ask", async () => {
    const [old, next] = [subjectOf(), subjectOf({ urls: { a: "http://a/", b: "http://b/" } })];
    const { results, swap } = liveOf(old);
    void results.next();
    swap(next);
    await expect.poll(() => [old.holds, next.holds]).toEqual([0, 1]);
    expect([old.open, next.open]).toEqual([1, 0]);
    await results.return();
  });

  test("goes on on the old graph while planners are too busy to say how it is run, and tries again", async () => {
    vi.useFakeTimers();
    try {
      const [old, next] = [subjectOf(), subjectOf({ busyTimes: 1 })];
      const { results, swap } = liveOf(old);
      const first = results.next();
      swap(next);
      await expect.poll(() => vi.getTimerCount()).toBe(1);
      expect([old.holds, next.holds]).toEqual([1, 0]);
      old.emit("meanwhile");
      expect(await first).toMatchObject({ value: { data: { changed: "meanwhile" } } });
      void results.next();
      await vi.advanceTimersByTimeAsync(2_000);
      expect([old.holds, next.holds]).toEqual([0, 1]);
      await results.return();
      expect(vi.getTimerCount()).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });

  test("that its client leaves while it moves holds and opens nothing afterwards", async () => {
    const [old, next] = [subjectOf(), subjectOf({ urls: { a: "http://elsewhere/" } })];
    const { results, swap } = liveOf(old);
    void results.next();
    swap(next);
    await results.return();
    await new Promise((resolve) => setImmediate(resolve));
    expect([old.holds, next.holds, old.open, next.open]).toEqual([0, 0, 0, 0]);
  });
});
