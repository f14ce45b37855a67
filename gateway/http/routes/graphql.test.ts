import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";
import { setImmediate as turn } from "node:timers/promises";
import { ToolyardError, anonymous, createLogger, createUserCaller } from "@toolyard/service-kit";
import { parse } from "graphql";
import { afterEach, expect, test, vi } from "vitest";
import { buildSchema } from "graphql";
import type { FastifyInstance } from "fastify";
import { parseGatewayConfig } from "../../config.ts";
import { createPersistedOperations } from "../../admission/persisted-operations.ts";
import { createBodyReader } from "../body-reader.ts";
import { createDirectRoutes } from "../direct-routes.ts";
import type { RouteContext } from "../route.ts";
import graphql from "./graphql.ts";
import graphqlStream from "./graphql-stream.ts";

let server: Server | null = null;
const sockets: Socket[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  server?.closeAllConnections();
  server?.close();
});

/** The routes in front of a graph whose every answer is this text. */
async function serve(
  text: string,
  stalledMs: number,
  overrides: {
    identify?: RouteContext["identify"];
    execute?: RouteContext["gate"]["execute"];
    maxBodyBytes?: number;
  } = {},
): Promise<{ server: Server; port: number }> {
  const schema = buildSchema("type Query { text: String }");
  const document = parse("{ text }");
  const maxBodyBytes = overrides.maxBodyBytes ?? 1_000_000;
  const config = parseGatewayConfig({}, { isAlone: true });
  const protection = { ...config.protection, maxBatch: 10, maxBodyBytes, maxAnonymousBodyBytes: 10_000 };
  const logger = createLogger({ level: "silent", name: "test" });
  const routes = createDirectRoutes({
    crossSite: { check: () => undefined, headersFor: () => ({}), preflightHeaders: () => ({}) },
    metrics: { httpRequest: () => undefined },
    tracing: null,
    log: () => undefined,
    logger,
  });
  const context: Partial<RouteContext> = {
    config: { ...config, protection },
    gate: {
      inspect: () => ({ kind: "query", name: null, document, schema }),
      execute: overrides.execute ?? (async () => ({ data: { text } })),
      subscribe: () => {
        throw new Error("Nothing is subscribed to here.");
      },
      activeStreams: 0,
      droppedEvents: 0,
    },
    protocols: {
      handleOperation: async () => false,
      handleStream: async () => undefined,
      handleUpgrade: () => undefined,
    },
    persisted: createPersistedOperations({ automatic: false }),
    identify: overrides.identify ?? (async () => anonymous),
    contextOf: (caller, _request, requestId) => ({ caller, requestId }),
    bodies: createBodyReader(protection),
    page: null,
    stalledMs,
    logger,
  };
  // These routes use no more of either.
  for (const add of [graphql, graphqlStream])
    void add({ direct: routes.add } as FastifyInstance, context as RouteContext);
  server = createServer((request, response) => void routes.serve(request, response));
  await once(server.listen(0, "127.0.0.1"), "listening");
  // `listen` on a TCP port answers an AddressInfo.
  return { server, port: (server.address() as AddressInfo).port };
}

const bodyOf = (body: string) =>
  `POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

function open(port: number): Socket {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => undefined);
  sockets.push(socket);
  return socket;
}

const connectionsOf = (running: Server) =>
  new Promise<number>((resolve, reject) =>
    running.getConnections((error, count) => (error ? reject(error) : resolve(count))),
  );

test.each([
  ["an answer", '{"query":"{ text }"}'],
  ["the answers to a list", '[{"query":"{ text }"}]'],
])("who does not take %s loses the connection", async (_what, body) => {
  const running = await serve("x".repeat(20_000_000), 200);
  const connected = once(running.server, "connection");
  const socket = open(running.port);
  socket.pause();
  socket.write(bodyOf(body));
  await connected;
  await expect.poll(() => connectionsOf(running.server)).toBe(0);
});

test("who takes it slowly does not, nor who waits before the next request", async () => {
  const stalledMs = 1_000;
  const running = await serve("x".repeat(8_000_000), stalledMs);
  const connected = once(running.server, "connection");
  const socket = open(running.port);
  const [served] = (await connected) as [Socket];
  let received = 0;
  let isSlow = true;
  const reading = setInterval(() => socket.resume(), 5);
  socket.on("data", (chunk: Buffer) => {
    received += chunk.length;
    if (isSlow) socket.pause();
  });
  socket.write(bodyOf('{"query":"{ text }"}'));
  await expect.poll(() => received).toBeGreaterThan(8_000_000);
  clearInterval(reading);
  isSlow = false;
  socket.resume();
  // What Node closes the connection after by itself.
  await expect.poll(() => served.timeout).toBeGreaterThan(stalledMs);
  socket.write(bodyOf('{"query":"{ text }"}'));
  await expect.poll(() => received).toBeGreaterThan(16_000_000);
});

test("what a client asked for that left while it was being authenticated is not begun for nobody", async () => {
  let begin: (() => void) | undefined;
  const asked: boolean[] = [];
  const running = await serve("x", 1_000, {
    identify: () => new Promise((resolve) => (begin = () => resolve(anonymous))),
    async execute({ signal }) {
      asked.push(signal?.aborted ?? false);
      return { data: {} };
    },
  });
  const socket = open(running.port);
  socket.write(bodyOf('{"query":"{ text }"}'));
  await expect.poll(() => begin !== undefined).toBe(true);
  socket.destroy();
  await expect.poll(() => connectionsOf(running.server)).toBe(0);
  begin?.();
  for (let n = 0; n < 10; n++) await turn();
  expect(asked).not.toContain(false);
});

/** The status of the answer to bytes that are sent. */
async function statusOf(port: number, bytes: string): Promise<number> {
  const socket = open(port);
  socket.write(bytes);
  const [chunk] = (await once(socket, "data")) as [Buffer];
  return Number(/^HTTP\/1\.1 (\d+)/.exec(chunk.toString("latin1"))?.[1]);
}

/** How many characters are parsed as JSON while work is done. */
async function parsedDuring(work: () => Promise<unknown>): Promise<number> {
  const parse = vi.spyOn(JSON, "parse");
  try {
    await work();
    return parse.mock.calls.reduce((sum, [text]) => sum + text.length, 0);
  } finally {
    parse.mockRestore();
  }
}

const manyObjects = (bytes: number) => `{"query":"{ text }","variables":{"v":[${"{},".repeat(bytes / 3)}{}]}}`;
const invalid = async () => {
  throw new ToolyardError("UNAUTHENTICATED", "The credential is wrong.");
};
const known = async () => createUserCaller("u1", "VIEWER");

test("a credential that is not good is refused before the body has come", async () => {
  const { port } = await serve("x", 1_000, { identify: invalid });
  const head = `POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{`;
  expect(await statusOf(port, head)).toBe(401);
});

test.each(["/graphql", "/graphql/stream"])("of who is not known, %s reads little", async (path) => {
  const { port } = await serve("x", 1_000);
  const post = (bytes: number) => bodyOf(manyObjects(bytes)).replace("/graphql", path);
  expect(await statusOf(port, post(20_000))).toBe(413);
  // Who goes on sending in spite of the answer is cut off.
  expect(await parsedDuring(() => statusOf(port, post(9_000_000)).catch(() => 413))).toBe(0);
});

test("large bodies have room for so many at once, half of it for one caller, and have it again when they are answered", async () => {
  const large = JSON.stringify({ query: "{ text }", variables: { text: "x".repeat(500_000) } });
  const answer = Promise.withResolvers<void>();
  let running = 0;
  const { port } = await serve("ok", 5_000, {
    identify: async (request) => createUserCaller(String(request.headers["x-user"]), "VIEWER"),
    async execute() {
      running += 1;
      await answer.promise;
      return { data: { text: "ok" } };
    },
    maxBodyBytes: 500_100,
  });
  const send = (user: string, body: string) =>
    fetch(`http://127.0.0.1:${port}/graphql`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-user": user },
      body,
    });
  const taken = Array.from({ length: 6 }, () => send("one", large));
  await expect.poll(() => running).toBe(6);
  const refused = await send("one", large);
  expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "1"]);
  expect(await refused.json()).toMatchObject({ errors: [{ extensions: { code: "CAPACITY_EXHAUSTED" } }] });
  taken.push(send("one", '{"query":"{ text }"}'), ...Array.from({ length: 6 }, () => send("two", large)));
  await expect.poll(() => running).toBe(13);
  expect((await send("three", large)).status).toBe(503);
  answer.resolve();
  for (const each of await Promise.all(taken)) expect(await each.json()).toEqual({ data: { text: "ok" } });
  await expect.poll(async () => (await send("one", large)).status).toBe(200);
});

test("a body of too many values is not parsed, whoever sends it; a long text is", async () => {
  const { port } = await serve("x", 1_000, { identify: known, maxBodyBytes: 12_000_000 });
  const parsed = await parsedDuring(async () => {
    expect(await statusOf(port, bodyOf(manyObjects(9_000_000)))).toBe(413);
    expect(await statusOf(port, bodyOf(`{"query":"{ text }","variables":${"[".repeat(5_000_000)}`))).toBe(413);
  });
  expect(parsed).toBe(0);
  const text = '[{,\\\\\\"'.repeat(900_000);
  expect(await statusOf(port, bodyOf(`{"query":"{ text }","variables":{"v":"${text}"}}`))).toBe(200);
});
