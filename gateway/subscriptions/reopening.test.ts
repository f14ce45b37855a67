import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { anonymous, createServiceCaller, type Caller } from "@toolyard/service-kit";
import type { ExecutionResult } from "graphql";
import { createHandler as createSseHandler } from "graphql-sse/lib/use/http";
import { useServer } from "graphql-ws/use/ws";
import { afterEach, describe, expect, test, vi } from "vitest";
import { WebSocketServer } from "ws";
import { composeFixture } from "../execution/fixtures/compose.ts";
import { shop, type ShopEvent } from "../execution/fixtures/shop.ts";
import { createHttpClient } from "../execution/clients/http-client.ts";
import { createInProcessClient } from "../execution/clients/in-process-client.ts";
import { createLiveGraph, type LiveGraph } from "../supergraph/live-graph.ts";
import { defaultOperationLimits } from "../admission/operation-limits.ts";
import { followGraph } from "./resubscription.ts";

const cleanups: (() => Promise<void>)[] = [];
const log = { error: vi.fn(), warn: vi.fn(), info: () => undefined };
const graphs: LiveGraph[] = [];
afterEach(async () => {
  log.error.mockClear();
  log.warn.mockClear();
  for (const graph of graphs.splice(0)) await graph.close();
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

/** The results of a subscription to changes that a subgraph gives, which may break. */
function open(
  query: string,
  changes: (after: string | undefined) => AsyncIterable<ShopEvent>,
  caller: Caller = anonymous,
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
    request: { query, context: { caller, requestId: "test" } },
    admit: ({ admission }) => admission.public.admit(query, null),
    ...(caller.kind !== "service" && { reopenMs: [1, 1] }),
  });
}

async function follow(...asked: Parameters<typeof open>): Promise<ExecutionResult[]> {
  const results: ExecutionResult[] = [];
  for await (const result of open(...asked)) results.push(result);
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

  test("ends at once for a service, which follows by itself: a proxy says meanwhile that it is cut off", async () => {
    let opened = 0;
    const changes = async function* () {
      opened++;
      yield event(1);
      throw new Error("ECONNRESET");
    };
    const results = await follow(
      `subscription { productChanged(after: "0") { sequence } }`,
      changes,
      createServiceCaller("proxy", []),
    );
    expect(sequencesOf(results)).toEqual(["1", undefined]);
    expect(results[1]?.errors?.[0]?.extensions["code"]).toBe("UPSTREAM_UNAVAILABLE");
    expect(opened).toBe(1);
  });

  test("ends with an error rather than give events twice, where they do not say how far it came", async () => {
    let opened = 0;
    const results = await follow(`subscription { productChanged(after: "0") { product { upc } } }`, async function* () {
      opened++;
      yield event(1);
      throw new Error("ECONNRESET");
    });
    expect(results).toHaveLength(2);
    expect(results[1]?.errors?.[0]?.extensions["code"]).toBe("UPSTREAM_UNAVAILABLE");
    expect(opened).toBe(1);
  });

  test("is opened anew where it began now, and its events do not say where they are", async () => {
    let opened = 0;
    const results = await follow("subscription { productChanged { product { upc } } }", async function* () {
      opened++;
      yield event(opened);
      if (opened < 3) throw new Error("ECONNRESET");
    });
    expect(results.map(({ errors }) => errors)).toEqual([undefined, undefined, undefined]);
    expect(opened).toBe(3);
  });

  test("says after which sequence to go on, where it ends in spite of all", async () => {
    const results = await follow(`subscription { productChanged { sequence } }`, async function* (after) {
      if (after === undefined) yield event(7);
      throw new Error("ECONNRESET");
    });
    expect(results.at(-1)?.errors).toMatchObject([
      {
        message: 'The stream of the subgraph "products" broke. Subscribe again, after the sequence 7.',
        extensions: { code: "UPSTREAM_UNAVAILABLE", lastSequence: "7" },
      },
    ]);
  });
});

/** A subgraph that knows nothing of logs, which can be stopped and started again at the same place. */
async function foreignSubgraph(kind: "graphql-ws" | "sse") {
  let n = 0;
  const listeners = new Set<() => void>();
  const subscribeToTicks = async function* () {
    for (;;) {
      await new Promise<void>((resolve) => {
        const listener = () => {
          listeners.delete(listener);
          resolve();
        };
        listeners.add(listener);
      });
      yield { tick: { n, sequence: `s${n}` } };
    }
  };
  const { supergraphSdl, schemas } = composeFixture({
    ticks: {
      typeDefs: `
        type Query { ticks: Int }
        type Subscription { tick: Tick }
        "Its sequence is no place in a log: nothing takes it."
        type Tick { n: Int, sequence: String }`,
      resolvers: { Subscription: { tick: { subscribe: subscribeToTicks } } },
    },
  });
  const [schema] = schemas.values();
  if (!schema) throw new Error("There is no subgraph.");
  let stop: () => Promise<void> = async () => undefined;
  let port = 0;
  const start = async () => {
    const server = createServer();
    const sockets = kind === "graphql-ws" ? new WebSocketServer({ server }) : null;
    if (sockets) useServer({ schema }, sockets);
    else {
      const handle = createSseHandler({ schema });
      server.on("request", (request, response) => void handle(request, response));
    }
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    // `listen` on a TCP port answers an AddressInfo.
    port = (server.address() as AddressInfo).port;
    stop = async () => {
      for (const socket of sockets?.clients ?? []) socket.terminate();
      server.closeAllConnections();
      if (server.listening) {
        server.close();
        await once(server, "close");
      }
      listeners.clear();
    };
  };
  /** Answers all with a status, and errors as a load balancer in front may. */
  const refuse = async (status: number) => {
    let times = 0;
    const server = createServer((_request, response) => {
      times += 1;
      response.writeHead(status, { "content-type": "application/json" }).end('{"errors":[{"message":"busy"}]}');
    });
    server.on("upgrade", (_request, socket) => {
      times += 1;
      socket.end(`HTTP/1.1 ${status} x\r\nconnection: close\r\n\r\n`);
    });
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    stop = async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    };
    return { times: () => times };
  };
  await start();
  const live = createLiveGraph({
    supergraphSdl,
    createClient: (name) =>
      createHttpClient({
        name,
        url: `http://127.0.0.1:${port}/graphql`,
        subscriptions: kind,
        headersFor: () => ({}),
      }),
    limits: defaultOperationLimits,
    introspection: true,
    timeoutMs: 5_000,
    log,
  });
  graphs.push(live);
  cleanups.push(() => stop());
  return {
    start,
    refuse,
    stop: () => stop(),
    watching: () => listeners.size,
    tick() {
      n++;
      for (const listener of listeners) listener();
    },
    follow: (reopenMs: number[]) => {
      const query = "subscription { tick { n sequence } }";
      return followGraph({
        live,
        request: { query, context: { caller: anonymous, requestId: "test" } },
        admit: ({ admission }) => admission.public.admit(query, null),
        reopenMs,
      });
    },
  };
}

describe.each(["graphql-ws", "sse"] as const)("a subgraph of others that restarts, by %s", (kind) => {
  test.each(["before any event", "after some"])("has its subscriptions taken up again, %s", async (when) => {
    const subgraph = await foreignSubgraph(kind);
    const stream = subgraph.follow(Array.from({ length: 50 }, () => 50));
    let next = stream.next();
    await expect.poll(() => subgraph.watching()).toBe(1);
    if (when === "after some") {
      subgraph.tick();
      expect(await next).toMatchObject({ value: { data: { tick: { n: 1 } } } });
      next = stream.next();
    }
    await subgraph.stop();
    await subgraph.start();
    await expect.poll(() => subgraph.watching()).toBe(1);
    subgraph.tick();
    expect(await next).toMatchObject({ value: { data: { tick: { n: when === "after some" ? 2 : 1 } } } });
    await stream.return();
  });

  test("and does not come back ends them in words that speak of no sequence", async () => {
    const subgraph = await foreignSubgraph(kind);
    const stream = subgraph.follow([1, 1]);
    const first = stream.next();
    await expect.poll(() => subgraph.watching()).toBe(1);
    subgraph.tick();
    await first;
    await subgraph.stop();
    const { value } = await stream.next();
    expect(value).toMatchObject({ errors: [{ extensions: { code: "UPSTREAM_UNAVAILABLE" } }] });
    expect(JSON.stringify(value)).not.toMatch(/sequence/i);
    expect((await stream.next()).done).toBe(true);
  });

  test("and whose place says for a while that it is not there", async () => {
    const subgraph = await foreignSubgraph(kind);
    const stream = subgraph.follow(Array.from({ length: 50 }, () => 50));
    const next = stream.next();
    await expect.poll(() => subgraph.watching()).toBe(1);
    await subgraph.stop();
    const refused = await subgraph.refuse(503);
    await expect.poll(() => refused.times()).toBeGreaterThan(1);
    await subgraph.stop();
    await subgraph.start();
    await expect.poll(() => subgraph.watching()).toBe(1);
    subgraph.tick();
    expect(await next).toMatchObject({ value: { data: { tick: { n: 1 } } } });
    expect(log.warn).toHaveBeenCalledTimes(1); // for the outage, not for each attempt
    await stream.return();
  });

  test("and is not there in the first place is told at once", async () => {
    const subgraph = await foreignSubgraph(kind);
    await subgraph.stop();
    const { value } = await subgraph.follow([3_600_000]).next();
    expect(value).toMatchObject({ errors: [{ extensions: { code: "UPSTREAM_UNAVAILABLE" } }] });
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
  await new Promise((resolve) => setImmediate(resolve));
  collect();
  expect(taken.filter((result) => result.deref() !== undefined).length).toBeLessThan(30);
  await stream.return();
});
