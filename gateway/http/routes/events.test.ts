import { once } from "node:events";
import { createServer, request as send, type IncomingMessage, type Server } from "node:http";
import { connect as connectSocket, type AddressInfo } from "node:net";
import { constants, deflateRawSync } from "node:zlib";
import { createLogger, createUserCaller, type Caller } from "@toolyard/service-kit";
import { graphqlError } from "@toolyard/service-kit/errors/graphql-error.ts";
import { standstill } from "@toolyard/testing/turns.ts";
import type { FastifyInstance } from "fastify";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { WebSocket } from "ws";
import { parseGatewayConfig } from "../../config.ts";
import type { EventEnvelope } from "../../events/event-feed.ts";
import { decodePosition, encodePosition } from "../../events/event-position.ts";
import { gateOf, logsOf, schema, type EventGate, type Logs } from "../../events/fixtures/event-gate.ts";
import { createDirectRoutes, pathOf } from "../direct-routes.ts";
import type { RouteContext } from "../route.ts";
import events from "./events.ts";
import ws from "./ws.ts";

/* The bounds and ends of GET /events and /ws (docs/streams.md), by a clock that the tests move. */

const STALLED_MS = 60_000;
const HEARTBEAT_MS = 12_000;

let server: Server;
let port: number;
let gate: EventGate;
let revoke: ((isConcerned: (caller: Caller) => boolean) => void)[];
let onPreClose: (() => Promise<void>)[];
/** Streams and sockets that a test has opened. */
const opened: { destroy(): unknown }[] = [];

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "Date"] });
});
afterEach(() => {
  for (const one of opened.splice(0)) one.destroy();
  server.closeAllConnections();
  server.close();
  vi.useRealTimers();
});

interface Serving {
  logs?: Logs;
  caller?: () => Caller;
  maxStreams?: number;
  execute?: EventGate["execute"];
}

/** Both routes in front of these logs. */
async function serve({ logs = logsOf(0), caller, maxStreams = 10, execute }: Serving = {}): Promise<void> {
  gate = gateOf(logs);
  if (execute) gate.execute = execute;
  revoke = [];
  onPreClose = [];
  const logger = createLogger({ level: "silent", name: "test" });
  const routes = createDirectRoutes({
    crossSite: { check: () => undefined, headersFor: () => ({}), preflightHeaders: () => ({}) },
    metrics: { httpRequest: () => undefined },
    tracing: null,
    log: () => undefined,
    logger,
  });
  const config = parseGatewayConfig({}, { isAlone: true });
  const limits = { operationsPerMinute: 100, maxConcurrentOperations: 10, maxConcurrentSubscriptions: maxStreams };
  const context: Partial<RouteContext> = {
    config: { ...config, protection: { ...config.protection, caller: limits } },
    gate: Object.assign(gate, { activeStreams: 0, droppedEvents: 0 }),
    apiSchema: () => schema,
    authenticate: async () => caller?.() ?? createUserCaller("u", "VIEWER"),
    contextOf: (given, _request, requestId) => ({ caller: given, requestId }),
    onRevoked(listener) {
      revoke.push(listener);
      return () => undefined;
    },
    stalledMs: STALLED_MS,
    logger,
  };
  const app: Partial<FastifyInstance> = { direct: routes.add };
  const addHook = (_name: string, hook: () => Promise<void>) => void onPreClose.push(hook);
  // These routes use no more of either.
  for (const add of [events, ws]) void add({ ...app, addHook } as unknown as FastifyInstance, context as RouteContext);
  server = createServer((request, response) => void routes.serve(request, response));
  server.on("upgrade", (request, socket, head) => routes.find(pathOf(request.url))?.upgrade?.(request, socket, head));
  await once(server.listen(0, "127.0.0.1"), "listening");
  // `listen` on a TCP port answers an AddressInfo.
  port = (server.address() as AddressInfo).port;
}

/** An answer of /events, which is read only when it is asked for. */
async function ask(query = "", headers: Record<string, string> = {}, method = "GET") {
  const sent = send({ port, host: "127.0.0.1", path: `/events${query}`, headers, method, agent: false }).end();
  sent.on("error", () => undefined);
  opened.push(sent);
  const [answer] = (await once(sent, "response")) as [IncomingMessage];
  answer.on("error", () => undefined);
  return answer;
}

/** Reads an answer: its parts that came whole, the messages in them, and whether it has ended. */
function follow(answer: IncomingMessage) {
  const seen = { parts: [] as string[], hasEnded: false, messages: [] as EventEnvelope[] };
  let rest = "";
  answer.setEncoding("utf8");
  answer.on("data", (text: string) => {
    const parts = (rest + text).split("\n\n");
    rest = parts.pop() ?? "";
    seen.parts.push(...parts);
    for (const part of parts) {
      const data = /^data: (.*)$/m.exec(part)?.[1];
      // Texts of the server under test.
      if (data !== undefined) seen.messages.push(JSON.parse(data) as EventEnvelope);
    }
  });
  answer.once("close", () => (seen.hasEnded = true));
  return seen;
}

async function connect(query = "") {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/ws${query}`);
  opened.push({ destroy: () => socket.terminate() });
  socket.on("error", () => undefined);
  const messages: EventEnvelope[] = [];
  // Texts of the server under test.
  socket.on("message", (data: Buffer) => messages.push(JSON.parse(data.toString("utf8")) as EventEnvelope));
  const closed = new Promise<[number, string]>((resolve) =>
    socket.once("close", (code, reason) => resolve([code, reason.toString()])),
  );
  await once(socket, "open");
  return { socket, messages, closed, say: (message: object) => socket.send(JSON.stringify(message)) };
}

/** A socket whose bytes the test writes. `received` begins after the head of the answer. */
async function connectRaw(headers = "") {
  const socket = connectSocket(port, "127.0.0.1");
  opened.push(socket);
  socket.on("error", () => undefined);
  const raw = { socket, head: "", received: Buffer.alloc(0), hasEnded: false };
  socket.once("close", () => (raw.hasEnded = true));
  socket.write(
    `GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${headers}\r\n`,
  );
  let all = Buffer.alloc(0);
  socket.on("data", (chunk: Buffer) => {
    all = Buffer.concat([all, chunk]);
    const end = all.indexOf("\r\n\r\n") + 4;
    raw.head = all.subarray(0, end).toString();
    raw.received = all.subarray(end);
  });
  await expect.poll(() => raw.head).toMatch(/^HTTP\/1\.1 101 /);
  return raw;
}

const FIN = 0x80;
const COMPRESSED = 0x40;
const [CONTINUATION, TEXT, CLOSE, PING] = [0x0, 0x1, 0x8, 0x9];
/** A client's frame, its mask all zeros. @param first The frame's first byte */
function frame(first: number, content: Buffer | string, length = Buffer.byteLength(content)): Buffer {
  const head = Buffer.alloc(length < 126 ? 2 : 10);
  head[0] = first;
  head[1] = 0x80 | (length < 126 ? length : 127);
  if (length >= 126) head.writeBigUInt64BE(BigInt(length), 2);
  return Buffer.concat([head, Buffer.alloc(4), Buffer.from(content)]);
}
/** The code of a close frame that is all that was received. */
const closeCode = (received: Buffer): number | null =>
  received[0] === (FIN | CLOSE) && received.length >= 4 ? received.readUInt16BE(2) : null;

const types = (messages: readonly EventEnvelope[]) => messages.map(({ type }) => type);
const sequences = (messages: readonly EventEnvelope[]) =>
  messages.filter(({ type }) => type === "deployment").map(({ id }) => decodePosition(id ?? "").deployment);
const upTo = (last: number) => Array.from({ length: last }, (_, index) => index + 1);

describe("HEAD", () => {
  test("says whether a stream would begin, and leaves none", async () => {
    await serve();
    const answer = await ask("", {}, "HEAD");
    expect([answer.statusCode, answer.headers["content-type"]]).toEqual([200, "text/event-stream; charset=utf-8"]);
    const seen = follow(answer);
    await expect.poll(() => seen.hasEnded).toBe(true);
    expect(seen.parts).toEqual([]);
    await expect.poll(() => gate.open).toBe(0);
    expect((await ask("?topics=weather", {}, "HEAD")).statusCode).toBe(422);
    expect((await ask("?tool_id=no", {}, "HEAD")).statusCode).toBe(404);
  });
});

describe("a credential", () => {
  /** Less than a heartbeat, which a client would have to answer meanwhile. */
  const LEFT_MS = 10_000;
  const ending: Serving = { caller: () => ({ ...createUserCaller("u", "VIEWER"), expiresAt: Date.now() + LEFT_MS }) };

  test.each(["", "?ticket=tyt_x"])("that expires ends its streams at that moment (%s)", async (query) => {
    await serve(ending);
    const stream = follow(await ask(query));
    const { say, messages, closed } = await connect(query);
    say({ type: "subscribe" });
    await expect.poll(() => [...types(stream.messages), ...types(messages)]).toEqual(["subscribed", "subscribed"]);
    vi.advanceTimersByTime(LEFT_MS - 2_000);
    say({ type: "ping" });
    await expect.poll(() => types(messages)).toEqual(["subscribed", "pong"]);
    expect(gate.open).toBe(8);
    vi.advanceTimersByTime(2_000);
    expect(await closed).toEqual([4401, expect.stringContaining("expired")]);
    await expect.poll(() => stream.hasEnded).toBe(true);
    expect(stream.messages.at(-1)).toMatchObject({ type: "error", data: { status: 401, code: "UNAUTHENTICATED" } });
    await expect.poll(() => gate.open).toBe(0);
  });

  test("that is revoked while its stream is being opened gets no event", async () => {
    const ranges = Promise.withResolvers<Awaited<ReturnType<EventGate["execute"]>>>();
    let asked = 0;
    await serve({ logs: logsOf(5), execute: () => (asked++, ranges.promise) });
    const answering = ask("?after=0&topics=tool");
    await expect.poll(() => asked).toBe(1);
    for (const end of revoke) end(({ subject }) => subject === "u");
    ranges.resolve({ data: { tool: { oldestSequence: "0", latestSequence: "5" } } });
    const stream = follow(await answering);
    await expect.poll(() => stream.hasEnded).toBe(true);
    expect(types(stream.messages)).toEqual(["subscribed", "error"]);
    expect(stream.messages.at(-1)).toMatchObject({ data: { status: 401 } });
  });

  test("that is revoked ends the events of a socket although its client leaves the close unanswered", async () => {
    await serve();
    const { socket, received, ...raw } = await connectRaw();
    socket.write(frame(FIN | TEXT, '{"type":"subscribe"}'));
    await expect.poll(() => gate.open).toBe(4);
    for (const end of revoke) end(({ subject }) => subject === "another");
    expect(gate.open).toBe(4);
    for (const end of revoke) end(({ subject }) => subject === "u");
    await expect.poll(() => gate.open).toBe(0);
    expect([raw.hasEnded, received.length]).toEqual([false, 0]);
  });
});

describe("a client that does not read", () => {
  const EVENTS = 4_000;
  const message = "x".repeat(16_384);
  /** The operating system takes some megabytes. */
  const MOST_TAKEN = EVENTS / 2;
  const large: Serving = {
    logs: { ...logsOf(0), deployment: { oldest: 0, latest: EVENTS, message } },
  };

  test("of /events holds its log back, is cut off after a while, and goes on after its last id without a gap", async () => {
    await serve(large);
    const answer = await ask("?topics=deployment&after=0");
    await standstill(() => gate.taken);
    expect(gate.taken).toBeLessThan(MOST_TAKEN);
    vi.advanceTimersByTime(STALLED_MS - 1_000);
    await standstill(() => gate.open);
    expect(gate.open).toBe(1);
    vi.advanceTimersByTime(1_000);
    await expect.poll(() => gate.open).toBe(0);

    const first = follow(answer);
    await expect.poll(() => first.hasEnded).toBe(true);
    const last = first.messages.at(-1)?.id ?? "";
    expect(first.messages.length).toBeGreaterThan(1);
    const rest = follow(await ask("?topics=deployment&after=0", { "last-event-id": last }));
    await expect.poll(() => sequences(rest.messages).at(-1), { timeout: 20_000 }).toBe(EVENTS);
    expect([...sequences(first.messages), ...sequences(rest.messages)]).toEqual(upTo(EVENTS));
  });

  test("of /ws does so, too", async () => {
    await serve(large);
    const first = await connect();
    first.say({ type: "subscribe", topics: ["deployment"], after: "0" });
    await expect.poll(() => types(first.messages)).toContain("subscribed");
    first.socket.pause();
    await standstill(() => gate.taken);
    expect(gate.taken).toBeLessThan(MOST_TAKEN);
    // Pinged, it has as long as any client with much to read.
    vi.advanceTimersByTime(2 * HEARTBEAT_MS);
    await standstill(() => gate.open);
    expect(gate.open).toBe(1);
    vi.advanceTimersByTime(STALLED_MS + HEARTBEAT_MS);
    await expect.poll(() => gate.open).toBe(0);

    first.socket.resume();
    expect((await first.closed)[0]).toBe(1006);
    const rest = await connect();
    rest.say({ type: "subscribe", topics: ["deployment"], after: first.messages.at(-1)?.id });
    await expect.poll(() => sequences(rest.messages).at(-1), { timeout: 20_000 }).toBe(EVENTS);
    expect([...sequences(first.messages), ...sequences(rest.messages)]).toEqual(upTo(EVENTS));
  });

  test("and is slower than its log is told so, with the last id that it was sent", async () => {
    const errors = [graphqlError("SLOW_CONSUMER", "Too slow.", { extensions: { lastSequence: "3" } })];
    await serve({ logs: { ...logsOf(0), deployment: { oldest: 0, latest: 3, end: { errors } } } });
    const stream = follow(await ask("?topics=deployment&after=0"));
    const { say, messages } = await connect();
    say({ type: "subscribe", topics: ["deployment"], after: "0" });
    const id = encodePosition({ deployment: 3 });
    for (const all of [() => stream.messages, () => messages])
      await expect.poll(() => all().at(-1)).toMatchObject({ id, type: "error", data: { code: "SLOW_CONSUMER" } });
    await expect.poll(() => stream.hasEnded).toBe(true);
  });
});

describe("heartbeats", () => {
  test("keep an idle stream open, and a comment is all that comes", async () => {
    await serve();
    const stream = follow(await ask());
    await expect.poll(() => types(stream.messages)).toEqual(["subscribed"]);
    const before = stream.parts.length;
    vi.advanceTimersByTime(HEARTBEAT_MS);
    await expect.poll(() => stream.parts.slice(before)).toEqual([expect.stringMatching(/^:/)]);
  });

  test("of a socket must be answered: a client that is gone without a word is noticed", async () => {
    await serve();
    const alive = await connect();
    alive.say({ type: "subscribe" });
    const gone = await connectRaw();
    gone.socket.write(frame(FIN | TEXT, '{"type":"subscribe"}'));
    await expect.poll(() => gate.open).toBe(8);
    let pings = 0;
    alive.socket.on("ping", () => pings++);
    for (let beats = 1; beats <= 3; beats++) {
      vi.advanceTimersByTime(HEARTBEAT_MS);
      await expect.poll(() => pings).toBe(beats);
      alive.say({ type: "ping" });
      await expect.poll(() => types(alive.messages).filter((type) => type === "pong").length).toBe(beats);
    }
    await expect.poll(() => gone.hasEnded).toBe(true);
    await expect.poll(() => gate.open).toBe(4);
    expect(alive.socket.readyState).toBe(WebSocket.OPEN);
  });
});

test("a caller has so many streams at each address, and another one once it has ended one", async () => {
  await serve({ maxStreams: 2 });
  const streams = [await ask(), await ask()];
  const refused = await ask();
  expect([refused.statusCode, refused.headers["retry-after"]]).toEqual([429, "1"]);
  streams[0]?.destroy();
  await expect
    .poll(async () => {
      const again = await ask();
      return again.statusCode;
    })
    .toBe(200);
  await Promise.all([connect(), connect()]);
  const late = await connect();
  expect((await late.closed)[0]).toBe(4403);
  expect(late.messages).toMatchObject([{ type: "error", data: { code: "RATE_LIMITED" } }]);
});

describe("a position", () => {
  const garbage = ["x", "-1", "0,0", "../..", "%00", "é", "{}", `${encodePosition({ tool: 1 })}A`, "9".repeat(4_000)];

  test.each(garbage)("that is none (%#) is refused before anything is asked of the graph", async (text) => {
    let asked = 0;
    await serve({
      execute: () => {
        asked++;
        throw new Error("The graph was asked.");
      },
    });
    expect((await ask(`?after=${encodeURIComponent(text)}`)).statusCode).toBe(422);
    // A header's characters are bytes.
    const header = Buffer.from(text, "utf8").toString("latin1");
    expect((await ask("", { "last-event-id": header })).statusCode).toBe(422);
    expect(asked).toBe(0);
  });

  test("of a megabyte is refused by its length", async () => {
    await serve();
    const raw = connectSocket(port, "127.0.0.1");
    opened.push(raw);
    let answer = "";
    raw.on("data", (chunk: Buffer) => (answer += chunk.toString())).on("error", () => undefined);
    raw.write(`GET /events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: ${"A".repeat(1_048_576)}\r\n\r\n`);
    await expect.poll(() => answer).toMatch(/^HTTP\/1\.1 431 /);
  });

  test("of the future, or before what is kept, is refused with the one to go on from, at both addresses alike", async () => {
    await serve({ logs: { ...logsOf(9), task: { oldest: 5, latest: 9 } } });
    const { say, messages } = await connect();
    const refusal = async (after: string) => {
      const { statusCode, ...answer } = await ask(`?after=${after}`).then(async (found) => ({
        statusCode: found.statusCode,
        body: (await found.toArray()).join(""),
      }));
      expect(statusCode).toBe(422);
      // Texts of the server under test.
      const problem = JSON.parse(answer.body) as Record<string, unknown>;
      const before = messages.length;
      say({ type: "subscribe", after });
      await expect.poll(() => messages.length).toBe(before + 1);
      const { code, detail, oldest, latest } = problem;
      expect(messages.at(-1)).toMatchObject({ type: "error", data: { code, detail } });
      return oldest ?? latest;
    };
    const here = { deployment: 9, health: 9, task: 9, tool: 9 };
    for (const [bad, good] of [
      [{ ...here, tool: 10 }, here],
      [
        { ...here, task: 4 },
        { ...here, task: 5 },
      ],
    ]) {
      const goOn = String(await refusal(encodePosition(bad ?? {})));
      expect(decodePosition(goOn)).toEqual(good);
      expect((await ask(`?after=${goOn}`)).statusCode).toBe(200);
    }
  });
});

describe("a socket's frames", () => {
  const bomb = deflateRawSync(Buffer.alloc(50 * 1_048_576), { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, 4_000);
  const unmasked = Buffer.from([FIN | TEXT, 2, 0x7b, 0x7d]);
  const cases: [string, number, Buffer[]][] = [
    ["without a mask", 1002, [unmasked]],
    ["of an opcode that is none", 1002, [frame(FIN | 0x3, "{}")]],
    ["that go on with nothing", 1002, [frame(FIN | CONTINUATION, "{}")]],
    ["of control in parts", 1002, [frame(PING, "x")]],
    ["that say that they are compressed", 1002, [frame(FIN | COMPRESSED | TEXT, bomb)]],
    ["with text that is not UTF-8", 1007, [frame(FIN | TEXT, Buffer.from([0xff, 0xfe]))]],
    ["of a length that nobody would send", 1009, [frame(FIN | TEXT, "", 2 ** 40)]],
    ["that are too long together", 1009, [frame(TEXT, "x".repeat(4_000)), frame(CONTINUATION, "x".repeat(4_000))]],
  ];

  test.each(cases)("%s close it with %i", async (_what, code, frames) => {
    await serve();
    const raw = await connectRaw("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n");
    expect(raw.head).not.toMatch(/extensions/i);
    for (const each of frames) raw.socket.write(each);
    await expect.poll(() => closeCode(raw.received)).toBe(code);
  });

  test("that are binary are no messages, and the socket goes on", async () => {
    await serve();
    const { socket, say, messages } = await connect();
    socket.send(Buffer.from('{"type":"subscribe"}'));
    say({ type: "ping" });
    await expect.poll(() => types(messages)).toEqual(["error", "pong"]);
    expect(gate.open).toBe(0);
  });

  test("that come after the close are not kept", async () => {
    await serve();
    const raw = await connectRaw();
    raw.socket.write(frame(FIN | TEXT, '{"type":"subscribe"}'));
    await expect.poll(() => gate.open).toBe(4);
    for (const end of revoke) end(() => true);
    await expect.poll(() => raw.received.includes("revoked")).toBe(true);
    const kept = vi.spyOn(Buffer.prototype, "toString");
    const flood = Buffer.concat(Array.from({ length: 100 }, () => frame(FIN | TEXT, "x".repeat(4_000))));
    for (let n = 0; n < 50; n++) await new Promise<void>((resolve) => void raw.socket.write(flood, () => resolve()));
    await standstill(() => kept.mock.calls.length);
    const texts = kept.mock.results.map(({ value }) => String(value));
    kept.mockRestore();
    expect(texts.filter((text) => text.startsWith("xxx")).length).toBe(0);
  });
});

test("whoever connects while the gateway ends is told so", async () => {
  await serve();
  for (const close of onPreClose) void close();
  const stream = follow(await ask());
  await expect.poll(() => stream.hasEnded).toBe(true);
  expect(stream.parts.at(-1)).toMatch(/^retry: \d+$/);
  expect((await (await connect()).closed)[0]).toBe(1001);
  await expect.poll(() => gate.open).toBe(0);
});
