import { once } from "node:events";
import { afterEach, beforeEach, expect, test } from "vitest";
import { WebSocket } from "ws";
import { createChangeLog, type ChangeLog } from "./fixtures/change-log.ts";
import { composeContractShop, startContractServer, type ContractServer } from "./fixtures/contract-server.ts";

const composed = composeContractShop();
let log: ChangeLog;
let server: ContractServer;

beforeEach(async () => {
  log = createChangeLog();
  server = await startContractServer({ composed, changes: log.changes });
});
afterEach(() => server.close());

interface Message {
  type: string;
  id?: string;
  payload?: { message?: string; data?: unknown };
}

async function connect(protocols: string | string[] = "graphql-ws") {
  const socket = new WebSocket(`${server.origin.replace("http", "ws")}/graphql`, protocols);
  const received: Message[] = [];
  let wake: (() => void) | null = null;
  // Written by the server under test.
  socket.on("message", (data: Buffer) => {
    received.push(JSON.parse(data.toString("utf8")) as Message);
    wake?.();
  });
  await once(socket, "open");
  return {
    socket,
    send: (...messages: (object | string)[]) => {
      for (const message of messages) socket.send(typeof message === "string" ? message : JSON.stringify(message));
    },
    /** The next message that is no heartbeat, and is not of what was stopped: that may have begun, and ended, or not. */
    async next({ stopped = "" } = {}): Promise<Message> {
      for (;;) {
        const message = received.shift();
        const isExpected = message?.type === "ka" || (stopped !== "" && message?.id === stopped);
        if (message && !isExpected) return message;
        if (!message)
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
      }
    },
  };
}

const init = { type: "connection_init", payload: { authorization: "Bearer user:u1" } };
const start = (id: string, query: string) => ({ type: "start", id, payload: { query } });
const WATCH = `subscription { productChanged(after: "0") { sequence } }`;

test("clients need not wait for the acknowledgement", async () => {
  const { send, next } = await connect();
  send(init, start("1", "{ me { name } }"), start("2", "{ me { name } }"), { type: "stop", id: "2" });
  expect(await next()).toEqual({ type: "connection_ack" });
  const stopped = "2";
  expect(await next({ stopped })).toEqual({ type: "data", id: "1", payload: { data: { me: { name: "Ada" } } } });
  expect(await next({ stopped })).toEqual({ type: "complete", id: "1" });
});

test("an operation of nobody closes the socket", async () => {
  const { send, socket } = await connect();
  send(start("1", "{ me { name } }"));
  expect((await once(socket, "close"))[0]).toBe(4400);
});

test("a second initialisation closes the socket", async () => {
  const { send, socket } = await connect();
  send(init, init);
  expect((await once(socket, "close"))[0]).toBe(4429);
});

test.each(["{", "5", '{"type":"start"}', '{"type":"nonsense"}', '{"type":"start","id":"1","payload":{}}'])(
  "%s is answered as no message of the protocol, and the socket stays",
  async (text) => {
    const { send, next } = await connect();
    send(text);
    expect((await next()).type).toBe("connection_error");
    send(init);
    expect(await next()).toEqual({ type: "connection_ack" });
  },
);

test("an id that is used again ends the older operation", async () => {
  const { send, next } = await connect();
  send(init, start("1", WATCH));
  expect((await next()).type).toBe("connection_ack");
  log.append();
  expect(await next()).toMatchObject({ id: "1", payload: { data: { productChanged: { sequence: "1" } } } });
  send(start("1", "{ me { name } }"));
  expect(await next()).toEqual({ type: "data", id: "1", payload: { data: { me: { name: "Ada" } } } });
  expect(await next()).toEqual({ type: "complete", id: "1" });
  await expect.poll(() => log.open).toBe(0);
});

test("what is stopped is completed", async () => {
  const { send, next } = await connect();
  send(init, start("1", WATCH), { type: "stop", id: "1" });
  expect((await next()).type).toBe("connection_ack");
  send(start("2", WATCH));
  log.append();
  expect(await next({ stopped: "1" })).toMatchObject({ type: "data", id: "2" });
  send({ type: "stop", id: "2" });
  expect(await next()).toEqual({ type: "complete", id: "2" });
});

test("no more operations run on a socket than may", async () => {
  const { send, next } = await connect();
  send(init);
  expect((await next()).type).toBe("connection_ack");
  send(...Array.from({ length: 101 }, (_, index) => start(String(index), WATCH)));
  expect(await next()).toMatchObject({ type: "error", id: "100", payload: { extensions: { code: "RATE_LIMITED" } } });
});

test("the protocol is the one that the client offers, the newer one of two", async () => {
  expect((await connect("graphql-ws")).socket.protocol).toBe("graphql-ws");
  expect((await connect(["graphql-ws", "graphql-transport-ws"])).socket.protocol).toBe("graphql-transport-ws");
});

test("connection_terminate closes the socket", async () => {
  const { send, socket } = await connect();
  send(init, { type: "connection_terminate" });
  expect((await once(socket, "close"))[0]).toBe(1000);
});

test.each(["graphql-ws", "graphql-transport-ws"])(
  "a socket of %s counts as open before it is known whose it is",
  async (name) => {
    const { socket, send } = await connect(name);
    expect(server.protocols.openStreams).toBe(1);
    send("{}");
    socket.terminate();
    await expect.poll(() => server.protocols.openStreams).toBe(0);
  },
);

test("of both protocols the newer one is spoken, and none of others", async () => {
  const { socket } = await connect(["graphql-ws", "graphql-transport-ws"]);
  expect(socket.protocol).toBe("graphql-transport-ws");
  socket.terminate();
  await expect(connect("mqtt")).rejects.toThrow();
});
