import { once } from "node:events";
import { Agent, request } from "node:http";
import { connect, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { startGateway, startShop, type RunningGateway, type Shop } from "./fixtures/shop.ts";

/* SIGTERM while clients do what clients do. */

let shop: Shop;
let gateway: RunningGateway | null = null;
const sockets: Socket[] = [];
beforeAll(async () => {
  shop = await startShop();
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await gateway?.[Symbol.asyncDispose]();
});
afterAll(async () => {
  await shop?.close();
});

function open(running: RunningGateway, bytes: string): Socket {
  const socket = connect(Number(new URL(running.url).port), "127.0.0.1", () => void socket.write(bytes));
  socket.on("error", () => undefined);
  sockets.push(socket);
  return socket;
}

test("clients that are in the middle of a request, or of their answer, do not hold it up for long", async () => {
  gateway = await startGateway(shop.supergraph());
  open(gateway, "");
  open(gateway, "POST /graphql HTTP/1.1\r\nHost: localhost\r\n");
  const dripping = open(
    gateway,
    "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
  );
  const drip = setInterval(() => dripping.write(" "), 200);
  const body = JSON.stringify({ query: "{ products(first: 5) { meta } }" });
  shop.answerNext(`{"data":{"products":[{"meta":"${"x".repeat(20_000_000)}"}]}}`);
  const unread = open(
    gateway,
    `POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
  unread.pause();
  // Both that is asked and that is answered are under way.
  await expect.poll(() => shop.received.length).toBeGreaterThan(0);
  await once(unread, "readable");
  const code = await gateway.stop();
  clearInterval(drip);
  expect(code).toBe(0);
});

test("clients that send one request after the other on their connections lose none", async () => {
  gateway = await startGateway(shop.supergraph());
  const { port } = new URL(gateway.url);
  const agent = new Agent({ keepAlive: true, maxSockets: 10 });
  const failures: string[] = [];
  let answered = 0;
  let isOver = false;
  /** @returns false when nobody listens any more */
  const ask = () =>
    new Promise<boolean>((resolve) => {
      const headers = { "content-type": "application/json" };
      const asking = request({ agent, port, host: "127.0.0.1", path: "/graphql", method: "POST", headers });
      asking.on("response", (response) => {
        void text(response).then(
          (body) => {
            answered++;
            if (body !== '{"data":{"products":[{"name":"Product p0"}]}}') failures.push(body);
            resolve(true);
          },
          (error: unknown) => {
            failures.push(String(error));
            resolve(true);
          },
        );
      });
      asking.on("error", (error: NodeJS.ErrnoException) => {
        // What could not be sent was not accepted.
        if (error.code !== "ECONNREFUSED" && asking.reusedSocket) failures.push(String(error));
        resolve(error.code !== "ECONNREFUSED");
      });
      asking.end('{"query":"{ products(first: 1) { name } }"}');
    });
  const clients = Array.from({ length: 10 }, async () => {
    while (!isOver && (await ask()));
  });
  await expect.poll(() => answered).toBeGreaterThan(200);
  expect(await gateway.stop()).toBe(0);
  isOver = true;
  await Promise.all(clients);
  agent.destroy();
  expect(failures).toEqual([]);
});
