import { once } from "node:events";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createChangeLog, type ChangeLog } from "./fixtures/change-log.ts";
import { composeContractShop, startContractServer, type ContractServer } from "./fixtures/contract-server.ts";

interface Callback {
  action: string;
  id: string;
  verifier: string;
  payload?: { data: { productChanged: { sequence: string } } };
}

const composed = composeContractShop();
const cleanups: (() => Promise<void> | void)[] = [];
let log: ChangeLog;
let server: ContractServer;

beforeEach(async () => {
  log = createChangeLog();
  server = await startContractServer({ composed, changes: log.changes });
});
afterEach(async () => {
  await server.close();
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

/** Somebody who is called back and answers as told. */
async function listen(statusOf: (message: Callback, count: number) => number) {
  const messages: Callback[] = [];
  const paths: string[] = [];
  const listener: Server = createServer((request: IncomingMessage, response) => {
    void text(request).then((body) => {
      // Written by the server under test.
      const message = JSON.parse(body) as Callback;
      messages.push(message);
      paths.push(request.url ?? "");
      response.writeHead(statusOf(message, messages.length), { location: "/elsewhere" }).end();
    });
  });
  await once(listener.listen(0, "127.0.0.1"), "listening");
  cleanups.push(() => {
    listener.closeAllConnections();
    listener.close();
  });
  // `listen` on a TCP port answers an AddressInfo.
  const { port } = listener.address() as AddressInfo;
  return { messages, paths, url: `http://127.0.0.1:${port}/back` };
}

const subscribe = (subscription: object, query = `subscription { productChanged(after: "0") { sequence } }`) =>
  fetch(`${server.origin}/graphql`, {
    method: "POST",
    headers: {
      authorization: "Bearer user:u1",
      "content-type": "application/json",
      accept: "application/json;callbackSpec=1.0",
    },
    body: JSON.stringify({ query, extensions: { subscription } }),
  });

const asked = (callbackUrl: string) => ({ callbackUrl, subscriptionId: "s1", verifier: "v1", heartbeatIntervalMs: 0 });

test("the subscriber confirms before it is answered, then gets every event and the end", async () => {
  const { messages, url } = await listen(() => 204);
  const response = await subscribe(asked(url));
  expect(await response.json()).toEqual({ data: null });
  expect(messages).toEqual([{ kind: "subscription", action: "check", id: "s1", verifier: "v1" }]);
  log.append(2);
  log.finish();
  await expect.poll(() => messages.length).toBe(4);
  expect(messages.slice(1)).toMatchObject([
    { action: "next", id: "s1", verifier: "v1", payload: { data: { productChanged: { sequence: "1" } } } },
    { action: "next", payload: { data: { productChanged: { sequence: "2" } } } },
    { action: "complete", id: "s1", verifier: "v1" },
  ]);
  await expect.poll(() => server.protocols.openStreams).toBe(0);
});

test("a subscriber that does not confirm is not subscribed", async () => {
  const { url } = await listen(() => 400);
  expect((await subscribe(asked(url))).status).toBe(400);
  expect((await subscribe(asked("http://127.0.0.1:1/"))).status).toBe(400);
  expect([log.open, server.protocols.openStreams]).toEqual([0, 0]);
});

test("a callback that fails for a while is tried again, and nothing is lost or doubled", async () => {
  const { messages, url } = await listen(({ action }, count) => (action === "next" && count % 2 === 0 ? 503 : 204));
  await subscribe(asked(url));
  log.append(3);
  log.finish();
  await expect.poll(() => messages.at(-1)?.action).toBe("complete");
  const delivered = messages.filter(({ action }, index) => action === "next" && (index + 1) % 2 === 1);
  expect(delivered.map(({ payload }) => payload?.data.productChanged.sequence)).toEqual(["1", "2", "3"]);
});

test.each([404, 400, 302])("an answer of %s ends the subscription", async (status) => {
  const { messages, paths, url } = await listen(({ action }) => (action === "next" ? status : 204));
  await subscribe(asked(url));
  log.append(3);
  await expect.poll(() => [log.open, server.protocols.openStreams]).toEqual([0, 0]);
  expect(messages.map(({ action }) => action)).toEqual(["check", "next"]);
  expect(paths).not.toContain("/elsewhere");
});

test.each([
  ["http://127.0.0.1.evil.test/", 403],
  ["http://localhost:80/", 403],
  ["http://169.254.169.254/latest/meta-data", 403],
  ["http://[::1]:4000/", 403],
  ["http://2130706433.test/", 403],
  ["http://user:password@127.0.0.1/", 400],
  ["file:///etc/passwd", 400],
  ["ftp://127.0.0.1/", 400],
  ["nonsense", 400],
])("%s is not called back", async (callbackUrl, status) => {
  const response = await subscribe(asked(callbackUrl));
  expect(response.status).toBe(status);
  expect(log.opened).toBe(0);
});

test("where no host is named the protocol is off", async () => {
  await server.close();
  server = await startContractServer({ composed, changes: log.changes, callbackHosts: [] });
  const { messages, url } = await listen(() => 204);
  expect((await subscribe(asked(url))).status).toBe(403);
  expect(messages).toEqual([]);
});

test("what is missing or no subscription is refused, the names of the preview are understood", async () => {
  const { url } = await listen(() => 204);
  expect((await subscribe({ callbackUrl: url })).status).toBe(400);
  expect((await subscribe(asked(url), "{ me { name } }")).status).toBe(400);
  const preview = { callback_url: url, subscription_id: "s2", verifier: "v" };
  expect((await subscribe(preview)).status).toBe(200);
  expect((await subscribe(preview)).status).toBe(409);
});
