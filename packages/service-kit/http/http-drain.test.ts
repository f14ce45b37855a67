import { once } from "node:events";
import {
  Agent,
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createHttpDrain, type HttpDrain } from "./http-drain.ts";

let server: Server;
let drain: HttpDrain;
let draining: AbortController;
let port: number;
let agent: Agent;
/** Of requests to /held, in the order in which they came. */
let held: ServerResponse[];
const sockets: Socket[] = [];
beforeEach(async () => {
  held = [];
  server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    if (request.url === "/held") held.push(response);
    else response.end("answer");
  });
  draining = new AbortController();
  drain = createHttpDrain(server, draining.signal);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  ({ port } = server.address() as AddressInfo);
  agent = new Agent({ keepAlive: true, maxSockets: 1 });
});
afterEach(() => {
  agent.destroy();
  for (const socket of sockets.splice(0)) socket.destroy();
  server.closeAllConnections();
});

async function ask(path = "/") {
  const asking = httpRequest({ agent, port, host: "127.0.0.1", path }).end();
  const [response] = (await once(asking, "response")) as [IncomingMessage];
  return { body: await text(response), connection: response.headers.connection };
}

test("a client that keeps its connection is answered on it once more, and told to open the next elsewhere", async () => {
  expect(await ask()).toEqual({ body: "answer", connection: "keep-alive" });
  const ended = drain.end();
  expect(await ask()).toEqual({ body: "answer", connection: "close" });
  await ended;
  await expect(ask()).rejects.toThrow("ECONNREFUSED");
});

test("connections are closed with their answers before others are refused", async () => {
  const asked = ask("/held");
  await expect.poll(() => held).toHaveLength(1);
  draining.abort();
  held[0]?.end("late");
  expect(await asked).toEqual({ body: "late", connection: "close" });
  expect(await ask()).toEqual({ body: "answer", connection: "close" });
  expect(await ask()).toEqual({ body: "answer", connection: "close" });
});

test("a request that runs is answered, and its connection closed after that", async () => {
  const asked = ask("/held");
  await expect.poll(() => held).toHaveLength(1);
  let isOver = false;
  const ended = drain.end().then(() => void (isOver = true));
  await drain.leave();
  expect(isOver).toBe(false);
  held[0]?.end("late");
  expect(await asked).toEqual({ body: "late", connection: "close" });
  await ended;
});

test("connections that nothing is sent on do not hold it up", async () => {
  const socket = connect(port, "127.0.0.1");
  sockets.push(socket);
  await once(socket, "connect");
  await ask();
  const closed = once(socket, "close");
  await drain.end();
  await closed;
});
