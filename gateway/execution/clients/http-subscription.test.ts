import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { anonymous } from "@toolyard/service-kit";
import { standstill } from "@toolyard/testing/turns.ts";
import { afterEach, expect, test } from "vitest";
import { WebSocketServer, type WebSocket } from "ws";
import { createHttpSubscriber, type HttpSubscriber, type HttpSubscriberOptions } from "./http-subscription.ts";
import { createLightAbort } from "@toolyard/service-kit/process/light-abort.ts";

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A subgraph that answers as it is told. */
async function start(
  answer: (message: { type: string; id: string }, socket: WebSocket) => void,
  options: Partial<HttpSubscriberOptions> & { autoPong?: boolean } = {},
): Promise<{ subscriber: HttpSubscriber; sockets: WebSocketServer; extensions: (string | undefined)[] }> {
  const { autoPong = true, ...rest } = options;
  const extensions: (string | undefined)[] = [];
  const sockets = new WebSocketServer({ port: 0, host: "127.0.0.1", autoPong, perMessageDeflate: true });
  sockets.on("connection", (socket, request) => {
    extensions.push(request.headers["sec-websocket-extensions"]);
    // Sent by the subscriber.
    socket.on("message", (data: Buffer) => answer(JSON.parse(data.toString()) as { type: string; id: string }, socket));
  });
  await once(sockets, "listening");
  cleanups.push(() => {
    for (const socket of sockets.clients) socket.terminate();
    sockets.close();
  });
  // It listens on a TCP port.
  const url = new URL(`http://127.0.0.1:${(sockets.address() as AddressInfo).port}/`);
  const subscriber = createHttpSubscriber({
    name: "changes",
    url,
    headersFor: () => ({}),
    connectTimeoutMs: 2_000,
    maxBufferedEvents: 100,
    ...rest,
  });
  cleanups.push(() => subscriber.close());
  return { subscriber, sockets, extensions };
}

const send = (socket: WebSocket, message: object) => socket.send(JSON.stringify(message));
const acknowledge = ({ type }: { type: string }, socket: WebSocket) => {
  if (type === "connection_init") send(socket, { type: "connection_ack" });
};

function subscribe(subscriber: HttpSubscriber) {
  const { signal, abort } = createLightAbort();
  const request = { query: "subscription { changed }", context: { caller: anonymous, requestId: "r" }, signal };
  return { abort, events: subscriber.subscribe(request)[Symbol.asyncIterator]() };
}

test("a subgraph that falls silent for ever breaks the stream", async () => {
  const { subscriber } = await start(acknowledge, { autoPong: false, heartbeatMs: 30 });
  await expect(subscribe(subscriber).events.next()).rejects.toMatchObject({
    code: "UPSTREAM_UNAVAILABLE",
    message: expect.stringContaining("no sign of life"),
  });
});

test("one that only has nothing to say does not", async () => {
  const { subscriber } = await start(
    (message, socket) => {
      acknowledge(message, socket);
      if (message.type !== "subscribe") return;
      let pings = 0;
      socket.on("ping", () => {
        if (++pings === 4) send(socket, { id: message.id, type: "next", payload: { data: { changed: 1 } } });
      });
    },
    { heartbeatMs: 150 },
  );
  const { events } = subscribe(subscriber);
  expect(await events.next()).toEqual({ done: false, value: { data: { changed: 1 } } });
  await events.return?.();
});

test("one that does not let the gateway in is given up in time", async () => {
  const { subscriber } = await start(() => undefined, { connectTimeoutMs: 300 });
  await expect(subscribe(subscriber).events.next()).rejects.toMatchObject({
    message: expect.stringContaining("did not acknowledge"),
  });
});

test("what is no message of the protocol, or no response, breaks the stream after what came before", async () => {
  for (const nonsense of ["hello", { type: "next", id: "1", payload: { nothing: true } }]) {
    const { subscriber } = await start((message, socket) => {
      acknowledge(message, socket);
      if (message.type !== "subscribe") return;
      send(socket, { id: message.id, type: "next", payload: { data: { changed: 1 } } });
      socket.send(typeof nonsense === "string" ? nonsense : JSON.stringify(nonsense));
    });
    const { events } = subscribe(subscriber);
    expect(await events.next()).toEqual({ done: false, value: { data: { changed: 1 } } });
    await expect(events.next()).rejects.toMatchObject({ code: "UPSTREAM_UNAVAILABLE" });
    expect(await events.next()).toEqual({ done: true, value: undefined });
  }
});

test("events that are not taken are held back in the subgraph, and all come in the end", async () => {
  let sent = 0;
  const { subscriber, sockets } = await start(
    (message, socket) => {
      acknowledge(message, socket);
      if (message.type !== "subscribe") return;
      for (sent = 1; sent <= 2_000; sent++)
        send(socket, {
          id: message.id,
          type: "next",
          payload: { data: { changed: sent, ballast: "x".repeat(5_000) } },
        });
      send(socket, { id: message.id, type: "complete" });
    },
    { maxBufferedEvents: 10 },
  );
  const { events } = subscribe(subscriber);
  const seen: unknown[] = [];
  seen.push((await events.next()).value?.data?.["changed"]);
  // Of some ten megabytes the subgraph's side still has most.
  expect([...sockets.clients][0]?.bufferedAmount).toBeGreaterThan(0);
  for (let next = await events.next(); !next.done; next = await events.next()) seen.push(next.value.data?.["changed"]);
  expect(seen).toEqual(Array.from({ length: 2_000 }, (_, index) => index + 1));
});

test("few large events are held back like many small ones, and one larger than an answer may be breaks the stream", async () => {
  let sent = 0;
  const large = "x".repeat(1_000_000);
  const { subscriber, sockets } = await start((message, socket) => {
    acknowledge(message, socket);
    if (message.type !== "subscribe") return;
    for (let i = 0; i < 60; i++)
      socket.send(
        JSON.stringify({ type: "next", id: message.id, payload: { data: { changed: large } } }),
        () => sent++,
      );
    send(socket, { type: "next", id: message.id, payload: { data: { changed: large.repeat(40) } } });
  });
  const { events } = subscribe(subscriber);
  await events.next();
  const [socket] = sockets.clients;
  await standstill(() => socket?.bufferedAmount);
  expect(sent, "that many were taken though nobody asked for the second").toBeLessThan(40);
  for (let i = 1; i < 60; i++) expect((await events.next()).value).toEqual({ data: { changed: large } });
  await expect(events.next()).rejects.toMatchObject({ code: "UPSTREAM_UNAVAILABLE" });
});

test("an abort ends the wait for an event and closes the socket; no compression is asked for", async () => {
  const { subscriber, sockets, extensions } = await start(acknowledge);
  const { events, abort } = subscribe(subscriber);
  const waiting = events.next();
  await expect.poll(() => sockets.clients.size).toBe(1);
  const [socket] = sockets.clients;
  const closed = socket && once(socket, "close");
  abort(null);
  expect(await waiting).toEqual({ done: true, value: undefined });
  await closed;
  expect(extensions).toEqual([undefined]);
});
