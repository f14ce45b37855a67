import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { execute as executeGraphql, parse, subscribe as subscribeGraphql, type ExecutionResult } from "graphql";
import { useServer } from "graphql-ws/use/ws";
import { afterEach, describe, expect, test } from "vitest";
import { WebSocketServer } from "ws";
import { anonymous, createLogger } from "@toolyard/service-kit";
import { createExecutor, type ExecutorOptions } from "../executor.ts";
import { composeFixture } from "../fixtures/compose.ts";
import { shop, type ShopEvent } from "../fixtures/shop.ts";
import { createHttpClient, type HttpClientOptions } from "./http-client.ts";
import { createInProcessClient } from "./in-process-client.ts";
import type { SubgraphClient, SubgraphRequest } from "./subgraph-client.ts";

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

type Handler = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>;

async function serve(handler: Handler): Promise<{ url: string; server: ReturnType<typeof createServer> }> {
  const server = createServer((request, response) => void Promise.resolve(handler(request, response)));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  });
  // `listen` on a TCP port answers an AddressInfo.
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/graphql` };
}

function clientOf(url: string, options: Partial<HttpClientOptions> = {}): SubgraphClient {
  const client = createHttpClient({
    name: "products",
    url,
    headersFor: ({ requestId }) => ({ "x-request-id": requestId, "x-caller": "signed" }),
    ...options,
  });
  cleanups.push(() => client.close());
  return client;
}

const request: SubgraphRequest = {
  query: "{ products { name } }",
  variables: { a: 1 },
  context: { caller: anonymous, requestId: "r9", traceparent: "00-aa-bb-01", headers: { "x-tenant": "t" } },
  signal: new AbortController().signal,
};

describe("what an HTTP subgraph may do", () => {
  test("a good answer is taken, and the subgraph is told on whose behalf", async () => {
    let seen: unknown;
    const { url } = await serve(async (incoming, response) => {
      seen = { headers: incoming.headers, body: JSON.parse(await text(incoming)) };
      response.setHeader("content-type", "application/json; charset=utf-8").end(`{"data":{"ok":true}}`);
    });
    expect(await clientOf(url).execute(request)).toEqual({ data: { ok: true } });
    expect(seen).toMatchObject({
      headers: { "x-request-id": "r9", "x-caller": "signed", traceparent: "00-aa-bb-01", "x-tenant": "t" },
      body: { query: request.query, variables: { a: 1 } },
    });
  });

  test("its warnings reach who takes them, whatever else stands there", async () => {
    const warned: string[] = [];
    const { url } = await serve((_incoming, response) => {
      const extensions = { warnings: ["one", 2, null, "three"], other: "x" };
      response.setHeader("content-type", "application/json").end(JSON.stringify({ data: { ok: true }, extensions }));
    });
    const context = { ...request.context, warn: (warning: string) => void warned.push(warning) };
    expect(await clientOf(url).execute({ ...request, context })).toEqual({ data: { ok: true } });
    expect(warned).toEqual(["one", "three"]);
    expect(await clientOf(url).execute(request)).toEqual({ data: { ok: true } });
  });

  const answers: [string, Handler, RegExp, string][] = [
    [
      "a page of HTML",
      (_, response) => void response.setHeader("content-type", "text/html").end("<html>"),
      /"products" is unavailable: it answered HTTP 200 with text\/html/,
      "UPSTREAM_UNAVAILABLE",
    ],
    [
      "half a JSON",
      (_, response) => void response.setHeader("content-type", "application/json").end(`{"data":`),
      /not JSON/,
      "UPSTREAM_UNAVAILABLE",
    ],
    [
      "JSON of another kind",
      (_, response) => void response.setHeader("content-type", "application/json").end(`[1]`),
      /not a GraphQL response/,
      "UPSTREAM_UNAVAILABLE",
    ],
    [
      "data that is no object",
      (_, response) => void response.setHeader("content-type", "application/json").end(`{"data":7}`),
      /not a GraphQL response/,
      "UPSTREAM_UNAVAILABLE",
    ],
    [
      "an error status without a body",
      (_, response) => void response.writeHead(503).end(),
      /HTTP 503/,
      "UPSTREAM_UNAVAILABLE",
    ],
    ["a closed connection", (incoming) => void incoming.socket.destroy(), /connection failed/, "UPSTREAM_UNAVAILABLE"],
    [
      "too much",
      (_, response) =>
        void response.setHeader("content-type", "application/json").end(`{"data":{"x":"${"x".repeat(20_000)}"}}`),
      /more than 10000 bytes/,
      "UPSTREAM_UNAVAILABLE",
    ],
    ["nothing for a long time", () => undefined, /did not answer in time/, "TIMEOUT"],
  ];
  test.each(answers)("%s becomes an error that names the subgraph", async (_name, handler, message, code) => {
    const { url } = await serve(handler);
    const response = await clientOf(url, { maxResponseBytes: 10_000, timeoutMs: 500 }).execute(request);
    expect(response.data).toBeUndefined();
    expect(response.errors).toHaveLength(1);
    expect(response.errors?.[0]?.message).toMatch(message);
    expect(response.errors?.[0]?.extensions?.["code"]).toBe(code);
  });

  test("nobody listening becomes an error", async () => {
    const { url, server } = await serve(() => undefined);
    server.close();
    const response = await clientOf(url).execute(request);
    expect(response.errors?.[0]).toMatchObject({
      message: expect.stringMatching(/ECONNREFUSED/),
      extensions: { code: "UPSTREAM_UNAVAILABLE" },
    });
  });

  test("a GraphQL error with an error status keeps its code", async () => {
    const { url } = await serve((_, response) => {
      response.writeHead(401, { "content-type": "application/graphql-response+json" });
      response.end(`{"errors":[{"message":"who?","extensions":{"code":"UNAUTHENTICATED"}}]}`);
    });
    expect(await clientOf(url).execute(request)).toEqual({
      errors: [{ message: "who?", extensions: { code: "UNAUTHENTICATED" } }],
    });
  });

  test("a connection that ends as a mutation comes makes that fail, said so, and asked once", async () => {
    let times = 0;
    const { url } = await serve((incoming, response) => {
      times += 1;
      if (times > 1) incoming.socket.destroy();
      else response.setHeader("content-type", "application/json").end(`{"data":{}}`);
    });
    const client = clientOf(url);
    expect(await client.execute(request)).toEqual({ data: {} });
    const { errors } = await client.execute({ ...request, query: "mutation { buy }", isMutation: true });
    expect(errors?.[0]?.message).toMatch(
      /"products" is unavailable: the connection failed( \(ECONNRESET\)|: it was closed)/,
    );
    expect(times).toBe(2);
  });

  test("who is told the status and throws gets an error, not silence", async () => {
    const { url } = await serve((_, response) => {
      response.setHeader("content-type", "application/json").end(`{"data":{}}`);
    });
    const onStatus = () => {
      throw new Error("no");
    };
    const response = await clientOf(url).execute({ ...request, onStatus });
    expect(response.errors).toHaveLength(1);
  });

  test.each(["a\r\nx: y", "a\nb", "a\0", "\u{1f600}"])("a header of %j is refused, not sent", async (value) => {
    let times = 0;
    const { url } = await serve((_, response) => {
      times += 1;
      response.setHeader("content-type", "application/json").end(`{"data":{}}`);
    });
    const response = await clientOf(url).execute({
      ...request,
      context: { ...request.context, headers: { "x-tenant": value } },
    });
    expect(response.errors?.[0]?.message).toMatch(/x-tenant has characters/);
    expect(times).toBe(0);
  });

  test("a request is given up when its operation is cancelled", async () => {
    const gone = new AbortController();
    let closed: Promise<unknown> | undefined;
    const { url } = await serve((incoming) => {
      closed = once(incoming.socket, "close");
      gone.abort();
    });
    const response = await clientOf(url).execute({ ...request, signal: gone.signal });
    expect(response.errors).toHaveLength(1);
    await closed;
  });
});

/** A whole shop, its products over HTTP and WebSocket. */
async function distributedShop(
  changes: () => AsyncIterable<ShopEvent>,
  options: Partial<HttpClientOptions> = {},
  log?: ExecutorOptions["log"],
) {
  const { supergraphSdl, schemas } = composeFixture(shop({ changes }));
  const schema = schemas.get("products");
  if (!schema) throw new Error("The shop has no products.");
  const { url, server } = await serve(async (incoming, response) => {
    // The executor's own client sent it.
    const { query, variables } = JSON.parse(await text(incoming)) as {
      query: string;
      variables: Record<string, unknown>;
    };
    const result = await executeGraphql({ schema, document: parse(query), variableValues: variables });
    response.setHeader("content-type", "application/json").end(JSON.stringify(result));
  });
  const sockets = new WebSocketServer({ server, path: "/graphql" });
  const upgrades: IncomingMessage[] = [];
  sockets.on("connection", (_socket, upgrade) => upgrades.push(upgrade));
  useServer({ schema, execute: executeGraphql, subscribe: subscribeGraphql }, sockets);
  cleanups.push(() => {
    for (const socket of sockets.clients) socket.terminate();
    sockets.close();
  });
  const executor = createExecutor({
    supergraphSdl,
    log,
    clients: [...schemas].map(([name, own]) =>
      name === "products"
        ? clientOf(url, options)
        : createInProcessClient({ subgraph: { name, schema: own, createContext: (context) => context } }),
    ),
  });
  return { executor, sockets, upgrades };
}

const context = { caller: anonymous, requestId: "r1" };
const watch = `subscription { productChanged { sequence product { name reviews(first: 1) { author { name } } } } }`;

async function* count(last: number): AsyncGenerator<ShopEvent> {
  for (let n = 1; n <= last; n++) yield { productChanged: { sequence: String(n), product: { upc: "1" } } };
}

describe("a subgraph over HTTP in a supergraph", () => {
  test("queries go to and fro", async () => {
    const { executor } = await distributedShop(() => count(0));
    const { data } = await executor.execute({ query: `{ reviews { product { name shippingEstimate } } }`, context });
    expect(JSON.parse(JSON.stringify(data))).toMatchObject({
      reviews: [{ product: { name: "Table", shippingEstimate: 50 } }, {}, {}, {}],
    });
  });

  test("its events are streamed in order, none lost where they come faster than they are taken", async () => {
    const { executor, upgrades } = await distributedShop(() => count(300), { maxBufferedEvents: 20 });
    const sequences: unknown[] = [];
    for await (const { data } of executor.subscribe({ query: watch, context })) {
      // The shape is the query's.
      sequences.push((data as { productChanged: { sequence: string } }).productChanged.sequence);
    }
    expect(sequences).toEqual(Array.from({ length: 300 }, (_, index) => String(index + 1)));
    expect(upgrades[0]?.headers["x-caller"]).toBe("signed");
  });

  test("a stream whose socket breaks ends with an error", async () => {
    const { executor, sockets } = await distributedShop(async function* () {
      yield* count(1);
      await new Promise(() => undefined);
    });
    const results: ExecutionResult[] = [];
    for await (const result of executor.subscribe({ query: watch, context })) {
      results.push(result);
      for (const socket of sockets.clients) socket.terminate();
    }
    expect(results).toHaveLength(2);
    expect(results[1]?.errors?.[0]?.extensions).toMatchObject({ code: "UPSTREAM_UNAVAILABLE", service: "products" });
  });

  test("streams that break together are one line of the log, a warning with no stack", async () => {
    const lines: string[] = [];
    const log = createLogger({ level: "info", name: "test", destination: { write: (line) => lines.push(line) } });
    const endless = async function* () {
      yield* count(1);
      await new Promise(() => undefined);
    };
    const { executor, sockets } = await distributedShop(endless, {}, log);
    const streams = [1, 2, 3].map(() => executor.subscribe({ query: watch, context }));
    await Promise.all(streams.map((stream) => stream.next()));
    for (const socket of sockets.clients) socket.terminate();
    await Promise.all(streams.map((stream) => stream.next()));
    expect(lines.map((line) => JSON.parse(line) as object)).toEqual([
      expect.objectContaining({ level: "warn", subgraph: "products", message: "streams of a subgraph broke" }),
    ]);
    expect(lines[0]).not.toContain("stack");
  });

  test("a refused subscription is told with the subgraph's reason", async () => {
    const { executor } = await distributedShop(() => {
      throw new Error("not today");
    });
    const results: ExecutionResult[] = [];
    for await (const result of executor.subscribe({ query: watch, context })) results.push(result);
    expect(results).toHaveLength(1);
    expect(results[0]?.errors?.[0]?.message).toBe("not today");
  });

  test("leaving a stream closes its socket", async () => {
    const { executor, sockets } = await distributedShop(async function* () {
      yield* count(1);
      await new Promise(() => undefined);
    });
    const stream = executor.subscribe({ query: watch, context });
    await stream.next();
    const [socket] = sockets.clients;
    const closed = socket && once(socket, "close");
    await stream.return();
    await closed;
  });
});
