import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, expect, test } from "vitest";
import { anonymous } from "@toolyard/service-kit";
import { createHandler } from "graphql-sse/lib/use/http";
import { composeFixture } from "../fixtures/compose.ts";
import { shop, type ShopEvent } from "../fixtures/shop.ts";
import { createHttpClient } from "./http-client.ts";
import { createSseSubscriber } from "./sse-subscription.ts";
import type { SubgraphRequest, SubgraphResponse } from "./subgraph-client.ts";

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function clientOf(handler: (request: IncomingMessage, response: ServerResponse) => unknown) {
  const server = createServer((request, response) => void handler(request, response));
  await once(server.listen(0, "127.0.0.1"), "listening");
  cleanups.push(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  });
  const client = createHttpClient({
    name: "products",
    // `listen` on a TCP port answers an AddressInfo.
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/graphql`,
    headersFor: () => ({ "x-caller": "signed" }),
    subscriptions: "sse",
  });
  cleanups.push(() => client.close());
  return client;
}

const requestOf = (query: string, signal = new AbortController().signal): SubgraphRequest => ({
  query,
  variables: {},
  context: { caller: anonymous, requestId: "r1", headers: { "x-tenant": "t" } },
  signal,
});
const WATCH = "subscription { productChanged { sequence product { upc } } }";

/** A subgraph behind graphql-sse's own server. */
async function subgraph(changes: () => AsyncIterable<ShopEvent>, seen: IncomingMessage[] = []) {
  const schema = composeFixture(shop({ changes })).schemas.get("products");
  if (!schema) throw new Error("The shop has products.");
  const handle = createHandler({ schema });
  return clientOf((request, response) => {
    seen.push(request);
    return handle(request, response);
  });
}

async function all(stream: AsyncIterable<SubgraphResponse>): Promise<SubgraphResponse[]> {
  const responses: SubgraphResponse[] = [];
  for await (const response of stream) responses.push(response);
  return responses;
}

test("events are streamed in order and completed, and the subgraph is told on whose behalf", async () => {
  const seen: IncomingMessage[] = [];
  const client = await subgraph(async function* () {
    for (let n = 1; n <= 500; n++) yield { productChanged: { sequence: String(n), product: { upc: "1" } } };
  }, seen);
  const responses = await all(client.subscribe(requestOf(WATCH)));
  expect(responses).toHaveLength(500);
  expect(responses[499]).toEqual({ data: { productChanged: { sequence: "500", product: { upc: "1" } } } });
  expect(seen[0]?.headers).toMatchObject({ "x-caller": "signed", "x-tenant": "t" });
});

test("an operation that the subgraph refuses is told with its reason", async () => {
  const client = await subgraph(async function* () {});
  const [refused] = await all(client.subscribe(requestOf("subscription { nope }")));
  expect(refused?.errors?.[0]?.message).toMatch(/Cannot query field "nope"/);
});

test("leaving a stream closes its connection", async () => {
  let closed = false;
  const client = await clientOf((_request, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" }).write('event: next\ndata: {"data":{"n":1}}\n\n');
    response.once("close", () => (closed = true));
  });
  const controller = new AbortController();
  const stream = client.subscribe(requestOf(WATCH, controller.signal))[Symbol.asyncIterator]();
  expect((await stream.next()).value).toEqual({ data: { n: 1 } });
  const waiting = stream.next();
  controller.abort();
  expect(await waiting).toEqual({ done: true, value: undefined });
  await expect.poll(() => closed).toBe(true);
});

test.each<[string, (response: ServerResponse) => void]>([
  [
    "closes before it is complete",
    (response) => response.writeHead(200, { "content-type": "text/event-stream" }).end(),
  ],
  ["breaks off", (response) => response.writeHead(200, { "content-type": "text/event-stream" }).destroy()],
  ["answers something else", (response) => response.writeHead(502, { "content-type": "text/html" }).end("<html>")],
  [
    "is no GraphQL",
    (response) => response.writeHead(200, { "content-type": "text/event-stream" }).end("event: next\ndata: 5\n\n"),
  ],
  ["refuses without an end", (response) => writeForever(response.writeHead(500, { "content-type": "text/plain" }))],
  [
    "sends lines without an end",
    (response) => writeForever(response.writeHead(200, { "content-type": "text/event-stream" }), "data:\n"),
  ],
])("a stream that %s ends with an error", async (_, answer) => {
  const client = await clientOf((_request, response) => answer(response));
  await expect(all(client.subscribe(requestOf(WATCH)))).rejects.toMatchObject({ code: "UPSTREAM_UNAVAILABLE" });
});

function writeForever(response: ServerResponse, text = "x"): void {
  const chunk = text.repeat(10_000);
  const write = () => {
    while (!response.destroyed && response.write(chunk)) continue;
  };
  response.on("drain", write);
  write();
}

test("a stream that never begins ends with an error", async () => {
  const server = createServer(() => undefined);
  await once(server.listen(0, "127.0.0.1"), "listening");
  // `listen` on a TCP port answers an AddressInfo.
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/graphql`);
  const options = { name: "products", url, headersFor: () => ({}), connectTimeoutMs: 1_000, beginTimeoutMs: 100 };
  const subscriber = createSseSubscriber(options);
  cleanups.push(async () => {
    await subscriber.close();
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  });
  await expect(all(subscriber.subscribe(requestOf(WATCH)))).rejects.toMatchObject({ code: "UPSTREAM_UNAVAILABLE" });
});

test("the type of a stream is known however it is written", async () => {
  const client = await clientOf((_request, response) =>
    response.writeHead(200, { "content-type": "Text/Event-Stream" }).end("event: complete\n\n"),
  );
  expect(await all(client.subscribe(requestOf(WATCH)))).toEqual([]);
});
