import { once } from "node:events";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createClient, type Client } from "graphql-ws";
import { afterEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { anonymous, createUserCaller, newId, ToolyardError, type Caller } from "@toolyard/service-kit";
import { createExecutor } from "../execution/executor.ts";
import { composeFixture } from "../execution/fixtures/compose.ts";
import { shop, type ShopEvent } from "../execution/fixtures/shop.ts";
import { createHivePlanner } from "../execution/planning/hive-planner.ts";
import { createInProcessClient } from "../execution/clients/in-process-client.ts";
import { createLocalPlanner } from "../execution/fixtures/local-planner.ts";
import { graphqlTransportWs } from "./graphql-transport-ws.ts";
import { createSocketConnections, type SocketConnections } from "./socket-connections.ts";
import { createSubscriptionEngine, type SubscriptionEngine } from "./subscription-engine.ts";

interface Running {
  url: string;
  protocol: SocketConnections;
  engine: SubscriptionEngine;
  client(connectionParams?: Record<string, unknown>): Client;
}

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface StartOptions {
  changes?: (after: string | undefined) => AsyncIterable<ShopEvent>;
  callerOf?: (params: Readonly<Record<string, unknown>>, request: IncomingMessage) => Caller;
  maxQueuedEvents?: number;
  slowConsumerGraceMs?: number;
  heartbeatMs?: number;
}

async function start(options: StartOptions = {}): Promise<Running> {
  const { changes = countTo(3), callerOf = () => anonymous, heartbeatMs = 12_000, ...limits } = options;
  const { supergraphSdl, schemas } = composeFixture(shop({ changes }));
  const clients = [...schemas].map(([name, schema]) =>
    createInProcessClient({ subgraph: { name, schema, createContext: (request) => request } }),
  );
  const executor = createExecutor({
    supergraphSdl,
    clients,
    planner: createLocalPlanner({ supergraphSdl, cores: [createHivePlanner({ supergraphSdl })] }),
  });
  const engine = createSubscriptionEngine({ executor, ...limits });
  const protocol = createSocketConnections(graphqlTransportWs, {
    executor,
    engine,
    contextOf: (caller) => ({ caller, requestId: newId() }),
    authenticate: callerOf,
    log: { error: () => undefined, debug: () => undefined },
    heartbeatMs,
  });
  const server: Server = createServer();
  server.on("upgrade", (request, socket, head) => protocol.handleUpgrade(request, socket, head));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(async () => {
    await protocol.close();
    server.close();
    await once(server, "close");
  });
  // `listen` on a TCP port answers an AddressInfo.
  const url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}/graphql`;
  return {
    url,
    protocol,
    engine,
    client(connectionParams) {
      const client = createClient({
        url,
        webSocketImpl: WebSocket,
        retryAttempts: 0,
        ...(connectionParams && { connectionParams }),
      });
      cleanups.push(() => client.dispose());
      return client;
    },
  };
}

function event(sequence: number): ShopEvent {
  return { productChanged: { sequence: String(sequence), product: { upc: String((sequence % 3) + 1) } } };
}

function countTo(last: number): (after: string | undefined) => AsyncIterable<ShopEvent> {
  return async function* (after) {
    for (let n = Number(after ?? "0") + 1; n <= last; n++) yield event(n);
  };
}

/** Yields the given events, then waits; says when it was ended. */
function endless(first: number): { changes: () => AsyncIterable<ShopEvent>; open: () => number } {
  let open = 0;
  return {
    open: () => open,
    changes: () => {
      open++;
      let sent = 0;
      let end: (() => void) | undefined;
      const iterator: AsyncIterator<ShopEvent> = {
        next: () =>
          sent < first
            ? Promise.resolve({ done: false, value: event(++sent) })
            : new Promise((resolve) => {
                end = () => resolve({ done: true, value: undefined });
              }),
        return: () => {
          open--;
          end?.();
          return Promise.resolve({ done: true, value: undefined });
        },
      };
      return { [Symbol.asyncIterator]: () => iterator };
    },
  };
}

const watch = `subscription Watch($after: String) {
  changed: productChanged(after: $after) { sequence product { name reviews { author { name } } } }
}`;

async function closeOf(client: Client, query = "{ me { name } }"): Promise<{ code: number; reason: string }> {
  try {
    for await (const _ of client.iterate({ query }));
  } catch (error) {
    // graphql-ws rejects with the close event of the socket.
    return error as { code: number; reason: string };
  }
  throw new Error("The socket was not closed.");
}

describe("graphql-transport-ws", () => {
  test("events come in order, each completed from the other subgraphs", async () => {
    const { client } = await start({ changes: countTo(40) });
    const results: unknown[] = [];
    for await (const result of client().iterate({ query: watch })) results.push(result);
    expect(results).toHaveLength(40);
    expect(results[0]).toEqual({
      data: { changed: { sequence: "1", product: { name: "Couch", reviews: [{ author: { name: "Ada" } }] } } },
    });
    const sequences = (results as { data: { changed: { sequence: string } } }[]).map(
      ({ data }) => data.changed.sequence,
    );
    expect(sequences).toEqual(Array.from({ length: 40 }, (_, index) => String(index + 1)));
  });

  test("a subscription goes on after the sequence that the client names", async () => {
    const { client } = await start({ changes: countTo(5) });
    const sequences: unknown[] = [];
    for await (const { data } of client().iterate<{ changed: { sequence: string } }>({
      query: watch,
      variables: { after: "3" },
    })) {
      sequences.push(data?.changed.sequence);
    }
    expect(sequences).toEqual(["4", "5"]);
  });

  test("queries and mutations run over the same socket", async () => {
    const { client } = await start();
    const socket = client();
    const answers: unknown[] = [];
    for await (const answer of socket.iterate({ query: "{ me { name } }" })) answers.push(answer);
    for await (const answer of socket.iterate({
      query: `mutation { rename(upc: "1", name: "Desk") { name price } }`,
    })) {
      answers.push(answer);
    }
    expect(answers).toEqual([{ data: { me: { name: "Ada" } } }, { data: { rename: { name: "Desk", price: 899 } } }]);
  });

  test("an invalid operation is refused and the socket stays", async () => {
    const { client } = await start();
    const socket = client();
    const refused = socket.iterate({ query: "subscription { nope }" }).next();
    await expect(refused).rejects.toMatchObject([{ extensions: { code: "GRAPHQL_VALIDATION_FAILED" } }]);
    const answer = await socket.iterate({ query: "{ me { name } }" }).next();
    expect(answer.value).toEqual({ data: { me: { name: "Ada" } } });
  });

  test("a refused credential closes the socket with 4401 and its reason", async () => {
    const { client } = await start({
      callerOf: (params) => {
        if (params["authorization"] === "Bearer good") return createUserCaller("u1", "VIEWER");
        throw new ToolyardError("UNAUTHENTICATED", "This token is not valid.");
      },
    });
    expect(await closeOf(client({ authorization: "Bearer bad" }))).toMatchObject({
      code: 4401,
      reason: "This token is not valid.",
    });
    const answer = await client({ authorization: "Bearer good" }).iterate({ query: "{ me { name } }" }).next();
    expect(answer.value).toEqual({ data: { me: { name: "Ada" } } });
  });

  test("an operation before connection_init closes the socket with 4401", async () => {
    const { url } = await start();
    const socket = new WebSocket(url, "graphql-transport-ws");
    await once(socket, "open");
    socket.send(JSON.stringify({ id: "1", type: "subscribe", payload: { query: "{ me { name } }" } }));
    expect((await once(socket, "close"))[0]).toBe(4401);
  });

  test("the socket closes when the credential expires", async () => {
    const source = endless(1);
    const { client } = await start({
      changes: source.changes,
      callerOf: () => ({ ...createUserCaller("u1", "VIEWER"), expiresAt: Date.now() + 60 }),
    });
    expect(await closeOf(client(), watch)).toMatchObject({ code: 4401, reason: expect.stringMatching(/expired/) });
    await expect.poll(() => source.open()).toBe(0);
  });

  test("a revoked caller's sockets close, others stay", async () => {
    const { client, protocol, engine } = await start({
      changes: endless(1).changes,
      callerOf: (params) => createUserCaller(String(params["user"]), "VIEWER"),
    });
    const kept = client({ user: "kept" }).iterate({ query: watch });
    await kept.next();
    const closing = closeOf(client({ user: "gone" }), watch);
    await expect.poll(() => protocol.openStreams).toBe(2);
    await expect.poll(() => engine.activeStreams).toBe(2);
    protocol.endWhere(({ userId }) => userId === "gone", "This credential was revoked.");
    expect(await closing).toMatchObject({ code: 4401, reason: "This credential was revoked." });
    await expect.poll(() => protocol.openStreams).toBe(1);
  });

  test("what a client no longer wants is released in the subgraph", async () => {
    const source = endless(2);
    const { client, engine } = await start({ changes: source.changes });
    const stream = client().iterate({ query: watch });
    await stream.next();
    expect(source.open()).toBe(1);
    await stream.return?.();
    await expect.poll(() => [source.open(), engine.activeStreams]).toEqual([0, 0]);
  });

  test("a client that vanishes releases everything", async () => {
    const source = endless(2);
    const { client, protocol, engine } = await start({ changes: source.changes });
    const one = client();
    await one.iterate({ query: watch }).next();
    one.terminate();
    await expect.poll(() => [source.open(), engine.activeStreams, protocol.openStreams]).toEqual([0, 0, 0]);
  });

  test("a client that does not read gets an error with the last sequence it can have received", async () => {
    const ballast = "x".repeat(60_000);
    let sent = 0;
    const { url, engine } = await start({
      maxQueuedEvents: 4,
      slowConsumerGraceMs: 50,
      changes: async function* () {
        while (true) yield { productChanged: { sequence: `${++sent}${ballast}`, product: { upc: "1" } } };
      },
    });
    const socket = new WebSocket(url, "graphql-transport-ws");
    const messages: {
      type: string;
      payload?: { data?: { productChanged: { sequence: string } }; errors?: { extensions: object }[] };
    }[] = [];
    socket.on("message", (data: Buffer) => messages.push(JSON.parse(data.toString("utf8")) as never));
    await once(socket, "open");
    socket.send(JSON.stringify({ type: "connection_init" }));
    await expect.poll(() => messages.length).toBe(1);
    socket.send(
      JSON.stringify({
        id: "1",
        type: "subscribe",
        payload: { query: "subscription { productChanged { sequence } }" },
      }),
    );
    await expect.poll(() => messages.length).toBeGreaterThan(2);
    socket.pause();
    await expect.poll(() => engine.droppedEvents).toBeGreaterThan(0);
    socket.resume();
    await expect.poll(() => messages.at(-1)?.type).toBe("complete");
    const received = messages.flatMap(({ payload }) => payload?.data?.productChanged.sequence ?? []);
    expect(received.map((sequence) => Number.parseInt(sequence, 10))).toEqual(received.map((_, index) => index + 1));
    const last = messages.at(-2)?.payload?.errors?.[0]?.extensions;
    expect(last).toEqual({ code: "SLOW_CONSUMER", lastSequence: received.at(-1) });
    socket.terminate();
  });

  test("one that reads nothing for many heartbeats still gets it, when it reads again", async () => {
    const ballast = "x".repeat(60_000);
    let sent = 0;
    const { url, engine } = await start({
      maxQueuedEvents: 4,
      slowConsumerGraceMs: 50,
      heartbeatMs: 150,
      changes: async function* () {
        while (true) yield { productChanged: { sequence: `${++sent}${ballast}`, product: { upc: "1" } } };
      },
    });
    const open = async (options: { autoPong: boolean }) => {
      const socket = new WebSocket(url, "graphql-transport-ws", options);
      await once(socket, "open");
      socket.send(JSON.stringify({ type: "connection_init" }));
      await once(socket, "message");
      return socket;
    };
    const slow = await open({ autoPong: true });
    const messages: string[] = [];
    slow.on("message", (data: Buffer) => messages.push(data.toString("utf8")));
    slow.send(
      JSON.stringify({
        id: "1",
        type: "subscribe",
        payload: { query: "subscription { productChanged { sequence } }" },
      }),
    );
    await expect.poll(() => messages.length).toBeGreaterThan(0);
    slow.pause();
    await expect.poll(() => engine.droppedEvents).toBeGreaterThan(0);
    // Two heartbeats are over when one that is silent is gone.
    await once(await open({ autoPong: false }), "close");
    slow.resume();
    await expect.poll(() => messages.at(-1)?.includes('"complete"') ?? false).toBe(true);
    expect(messages.at(-2)).toContain('"SLOW_CONSUMER"');
    slow.terminate();
  });

  test("what the protocol does not allow closes the socket with the code for it", async () => {
    // Its stream goes on: a second operation of that id comes while the first runs.
    const { url } = await start({ changes: endless(1).changes });
    const codeAfter = async (...messages: unknown[]) => {
      const socket = new WebSocket(url, "graphql-transport-ws");
      await once(socket, "open");
      for (const message of messages) socket.send(typeof message === "string" ? message : JSON.stringify(message));
      return (await once(socket, "close"))[0] as unknown;
    };
    const init = { type: "connection_init" };
    expect(await codeAfter("no JSON")).toBe(4400);
    expect(await codeAfter({ type: "unheard of" })).toBe(4400);
    expect(await codeAfter(init, { type: "next", id: "1", payload: {} })).toBe(4400);
    expect(await codeAfter(init, init)).toBe(4429);
    const other = new WebSocket(url);
    expect((await once(other, "close"))[0]).toBe(4406);
    const twice = new WebSocket(url, "graphql-transport-ws");
    await once(twice, "open");
    twice.send(JSON.stringify(init));
    await once(twice, "message");
    for (const _ of [1, 2]) twice.send(JSON.stringify({ id: "1", type: "subscribe", payload: { query: watch } }));
    expect((await once(twice, "close"))[0]).toBe(4409);
  });

  test("a stream that breaks in the subgraph ends with an error, not in silence", async () => {
    const { client } = await start({
      changes: async function* () {
        yield event(1);
        throw new Error("disk on fire");
      },
    });
    const results: unknown[] = [];
    for await (const result of client().iterate({ query: watch })) results.push(result);
    expect(results).toHaveLength(2);
    expect(results[1]).toMatchObject({
      errors: [
        {
          message: expect.stringMatching(/"products" broke/),
          extensions: { code: "UPSTREAM_UNAVAILABLE", service: "products" },
        },
      ],
    });
    expect(JSON.stringify(results)).not.toContain("disk on fire");
  });

  test("what the subgraph says to the client about its subscription arrives in its own words", async () => {
    const { client } = await start({
      // oxlint-disable-next-line require-yield -- a stream that fails before its first event
      changes: async function* () {
        throw new ToolyardError("BAD_USER_INPUT", "`after` is no position in the log.");
      },
    });
    const results: unknown[] = [];
    for await (const result of client().iterate({ query: watch })) results.push(result);
    expect(results).toMatchObject([
      { errors: [{ message: "`after` is no position in the log.", extensions: { code: "BAD_USER_INPUT" } }] },
    ]);
  });

  test("closing tells every client that the server goes away", async () => {
    const source = endless(1);
    const { client, protocol } = await start({ changes: source.changes });
    const closing = closeOf(client(), watch);
    await expect.poll(() => source.open()).toBe(1);
    await protocol.close();
    expect(await closing).toMatchObject({ code: 1001 });
    await expect.poll(() => source.open()).toBe(0);
  });

  test("a socket whose other end is silent is ended", async () => {
    const { url, protocol } = await start({ heartbeatMs: 30 });
    const socket = new WebSocket(url, "graphql-transport-ws", { autoPong: false });
    await once(socket, "open");
    socket.send(JSON.stringify({ type: "connection_init" }));
    await once(socket, "close");
    await expect.poll(() => protocol.openStreams).toBe(0);
  });

  test("what is for services only cannot be subscribed to by others", async () => {
    const { client } = await start();
    const refused = client().iterate({ query: "subscription { secretChanged { token } }" }).next();
    await expect(refused).rejects.toMatchObject([{ extensions: { code: "GRAPHQL_VALIDATION_FAILED" } }]);
  });
});
