import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { ToolyardError, createLogger, createUserCaller } from "@toolyard/service-kit";
import { afterEach, expect, test } from "vitest";
import { WebSocket } from "ws";
import type { EventEnvelope, EventFeed } from "./event-feed.ts";
import { createEventSockets, type EventSockets, type EventSocketsOptions } from "./event-sockets.ts";

let server: Server | null = null;
let sockets: EventSockets;
afterEach(async () => {
  await sockets.close(100);
  server?.close();
});

/** A feed whose events the test sends. */
interface Feed extends EventFeed {
  send(data: unknown): void;
  fail(error: unknown): void;
  isStopped: boolean;
}
const feeds: Feed[] = [];

function newFeed(name: string): Feed {
  const ended = Promise.withResolvers<void>();
  let send: (event: EventEnvelope) => Promise<void> | null = () => null;
  const feed: Feed = {
    topics: ["tool"],
    id: name,
    isStopped: false,
    run(given) {
      send = given;
      return ended.promise;
    },
    send: (data) => void send({ id: name, type: "tool", at: "", data }),
    fail: ended.reject,
    stop() {
      feed.isStopped = true;
      ended.resolve();
    },
  };
  feeds.push(feed);
  return feed;
}

async function connect(overrides: Partial<EventSocketsOptions> = {}) {
  feeds.length = 0;
  sockets = createEventSockets({
    feeds: { open: async () => newFeed(`position-${feeds.length}`) },
    authenticate: async () => createUserCaller("u", "VIEWER"),
    contextOf: (caller, _request, requestId) => ({ caller, requestId }),
    enter: () => () => undefined,
    stalledMs: 60_000,
    idleMs: 60_000,
    logger: createLogger({ level: "silent", name: "test" }),
    ...overrides,
  });
  server = createServer().on("upgrade", sockets.handleUpgrade);
  await once(server.listen(0, "127.0.0.1"), "listening");
  // `listen` on a TCP port answers an AddressInfo.
  const socket = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const messages: EventEnvelope[] = [];
  socket.on("message", (data: Buffer) => messages.push(JSON.parse(data.toString("utf8")) as EventEnvelope));
  const closed = new Promise<[number, string]>((resolve) =>
    socket.once("close", (code, reason) => resolve([code, reason.toString()])),
  );
  await once(socket, "open");
  return { socket, messages, closed, say: (message: unknown) => socket.send(JSON.stringify(message)) };
}

const types = (messages: readonly EventEnvelope[]) => messages.map(({ type }) => type);

test("events come between `subscribed` and `unsubscribed`; a ping is answered with the position", async () => {
  const { say, messages } = await connect();
  say({ type: "subscribe" });
  await expect
    .poll(() => messages)
    .toMatchObject([{ type: "subscribed", id: "position-0", data: { topics: ["tool"] } }]);
  feeds[0]?.send("first");
  say({ type: "ping" });
  say({ type: "unsubscribe" });
  await expect.poll(() => types(messages)).toEqual(["subscribed", "tool", "pong", "unsubscribed"]);
  expect(messages[2]).toMatchObject({ id: "position-0" });
  expect(feeds[0]?.isStopped).toBe(true);
});

test("a subscription takes the place of the one before", async () => {
  const { say, messages } = await connect();
  say({ type: "subscribe" });
  say({ type: "subscribe" });
  await expect.poll(() => types(messages)).toEqual(["subscribed", "subscribed"]);
  expect(feeds.map(({ isStopped }) => isStopped)).toEqual([true, false]);
});

test("what is wrong is a message, after which the socket goes on", async () => {
  const { socket, say, messages } = await connect();
  for (const text of ["{", "[]", '{"type":"login"}', '{"type":"subscribe","topics":["weather"]}']) socket.send(text);
  socket.send(Buffer.from([1]));
  say({ type: "subscribe" });
  await expect.poll(() => types(messages)).toEqual(["error", "error", "error", "error", "error", "subscribed"]);
  expect(messages[3]?.data).toMatchObject({ code: "BAD_USER_INPUT", problems: [{ path: "topics.0" }] });
});

test("a subscription that breaks is told, and the next one may follow", async () => {
  const { say, messages } = await connect();
  say({ type: "subscribe" });
  await expect.poll(() => feeds.length).toBe(1);
  feeds[0]?.fail(new ToolyardError("SLOW_CONSUMER", "Too slow."));
  await expect.poll(() => types(messages)).toEqual(["subscribed", "error"]);
  expect(messages[1]).toMatchObject({ id: "position-0", data: { code: "SLOW_CONSUMER", detail: "Too slow." } });
  say({ type: "subscribe" });
  await expect.poll(() => types(messages)).toEqual(["subscribed", "error", "subscribed"]);
});

test("a socket without a subscription is closed", async () => {
  const { closed } = await connect({ idleMs: 20 });
  expect(await closed).toEqual([4408, expect.stringContaining("Without a subscription")]);
});

test("a caller who is not known is told why, and turned away; so is one who has too many", async () => {
  const refusal = new ToolyardError("UNAUTHENTICATED", "The ticket is unknown, expired or used.");
  const stranger = await connect({ authenticate: async () => Promise.reject(refusal) });
  expect(await stranger.closed).toEqual([4401, refusal.message]);
  expect(stranger.messages).toMatchObject([{ type: "error", data: { code: "UNAUTHENTICATED" } }]);
  const full = new ToolyardError("RATE_LIMITED", "Too many run at once.");
  const another = await connect({
    enter: () => {
      throw full;
    },
  });
  expect(await another.closed).toEqual([4403, full.message]);
});

test("a revoked credential and a shutdown close the socket and stop its events", async () => {
  for (const [end, expected] of [
    [() => sockets.endWhere(({ subject }) => subject === "u", "It was revoked"), [4401, "It was revoked"]],
    [() => void sockets.close(1_000), [1001, "The server is going away: connect again"]],
  ] as const) {
    const { say, closed } = await connect();
    say({ type: "subscribe" });
    await expect.poll(() => feeds.length).toBe(1);
    end();
    expect(await closed).toEqual(expected);
    await expect.poll(() => feeds[0]?.isStopped).toBe(true);
  }
});

test("long messages, and many without waiting for answers, close the socket", async () => {
  const long = await connect();
  long.say({ type: "ping", padding: "x".repeat(5_000) });
  expect(await long.closed).toEqual([1009, ""]);
  const never = new Promise<EventFeed>(() => undefined);
  const hasty = await connect({ feeds: { open: () => never } });
  for (let n = 0; n < 20; n++) hasty.say({ type: "subscribe" });
  expect(await hasty.closed).toEqual([1008, "Wait for the answer to a message"]);
});
