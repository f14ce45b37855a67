import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { anonymous } from "@toolyard/service-kit";
import type { ExecutionResult } from "graphql";
import { afterEach, describe, expect, test } from "vitest";
import { composeFixture } from "./execution/fixtures/compose.ts";
import { shop, type ShopEvent } from "./execution/fixtures/shop.ts";
import { createInProcessClient } from "./execution/in-process-client.ts";
import { createLiveGraph, type LiveGraph } from "./live-graph.ts";
import { defaultOperationLimits } from "./operation-limits.ts";
import { followGraph } from "./resubscription.ts";

const log = { error: () => undefined, warn: () => undefined, info: () => undefined };
const graphs: LiveGraph[] = [];
afterEach(async () => {
  for (const graph of graphs.splice(0)) await graph.close();
});

/** The results of a subscription to changes that a subgraph gives, which may break. */
function open(
  query: string,
  changes: (after: string | undefined) => AsyncIterable<ShopEvent>,
): AsyncGenerator<ExecutionResult, void, void> {
  const { supergraphSdl, schemas } = composeFixture(shop({ changes }));
  const live = createLiveGraph({
    supergraphSdl,
    createClient(name) {
      const schema = schemas.get(name);
      if (!schema) throw new Error(`There is no subgraph ${name}.`);
      return createInProcessClient({ subgraph: { name, schema, createContext: (request) => request } });
    },
    limits: defaultOperationLimits,
    introspection: true,
    timeoutMs: 5_000,
    log,
  });
  graphs.push(live);
  return followGraph({
    live,
    request: { query, context: { caller: anonymous, requestId: "test" } },
    admit: ({ admission }) => admission.public.admit(query, null),
    reopenMs: [1, 1],
  });
}

async function follow(...[query, changes]: Parameters<typeof open>): Promise<ExecutionResult[]> {
  const results: ExecutionResult[] = [];
  for await (const result of open(query, changes)) results.push(result);
  return results;
}

const event = (sequence: number): ShopEvent => ({
  productChanged: { sequence: String(sequence), product: { upc: "1" } },
});
// As selected.
const sequencesOf = (results: ExecutionResult[]) =>
  results.map(({ data }) => (data as { productChanged: { sequence: string } } | undefined)?.productChanged.sequence);

describe("a subscription whose subgraph breaks off", () => {
  test("goes on after the last event, and its client learns nothing of it", async () => {
    const asked: (string | undefined)[] = [];
    const results = await follow("subscription { productChanged { sequence } }", async function* (after) {
      asked.push(after);
      const from = Number(after ?? "0");
      yield event(from + 1);
      yield event(from + 2);
      if (from < 6) throw new Error("ECONNRESET");
    });
    expect(sequencesOf(results)).toEqual(["1", "2", "3", "4", "5", "6", "7", "8"]);
    expect(asked).toEqual([undefined, "2", "4", "6"]);
  });

  test("ends with an error when it cannot be opened again", async () => {
    let opened = 0;
    const results = await follow(`subscription { productChanged(after: "0") { sequence } }`, async function* (after) {
      opened++;
      if (after === "0") yield event(1);
      throw new Error("ECONNREFUSED");
    });
    expect(sequencesOf(results)).toEqual(["1", undefined]);
    expect(results[1]?.errors?.[0]?.extensions["code"]).toBe("UPSTREAM_UNAVAILABLE");
    expect(opened).toBe(3);
  });

  test("ends with an error when events have no place in a log", async () => {
    const results = await follow("subscription { productChanged { product { upc } } }", async function* () {
      yield event(1);
      throw new Error("ECONNRESET");
    });
    expect(results).toHaveLength(2);
    expect(results[1]?.errors?.[0]?.extensions["code"]).toBe("UPSTREAM_UNAVAILABLE");
  });
});

test("a subscription keeps none of the results that were taken from it, however long it is open", async () => {
  setFlagsFromString("--expose-gc");
  // What the flag gives a new context.
  const collect = runInNewContext("gc") as () => void;
  const stream = open("subscription { productChanged { sequence product { upc } } }", async function* () {
    for (let sequence = 1; ; sequence++) {
      await new Promise((resolve) => setImmediate(resolve));
      yield event(sequence);
    }
  });
  const taken: WeakRef<object>[] = [];
  while (taken.length < 300) {
    const { value } = await stream.next();
    if (value?.data) taken.push(new WeakRef(value.data));
  }
  await new Promise((resolve) => setTimeout(resolve));
  collect();
  expect(taken.filter((result) => result.deref() !== undefined).length).toBeLessThan(30);
  await stream.return();
});
