import { once } from "node:events";
import { connect } from "node:net";
import type { Route } from "@toolyard/routes";
import { eventually } from "@toolyard/testing";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startControlPlane, type FakeControlPlane } from "./fixtures/control-plane.ts";
import { routeTo, startProxy, type RunningProxy } from "./fixtures/proxy.ts";
import { sayName, startUpstream, type Upstream } from "./fixtures/upstream.ts";

const META = {
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientInfo": { name: "test", version: "1" },
  "io.modelcontextprotocol/clientCapabilities": {},
};
const SERVER_INFO = { "io.modelcontextprotocol/serverInfo": { name: "waiter", version: "1" } };
const DISCOVERED = {
  resultType: "complete",
  supportedVersions: ["2026-07-28"],
  capabilities: { tools: {}, resources: {} },
  _meta: SERVER_INFO,
};
const TOOLS = [{ name: "wait", inputSchema: { type: "object" } }];
const OFFER = { discovered: DISCOVERED, tools: TOOLS, prompts: [], resources: null, resourceTemplates: [] };

let controlPlane: FakeControlPlane;
let running: RunningProxy;
let server: Upstream;
let token: string;

const idle = (slug: string, offer: string | null): Route =>
  routeTo(slug, [], { autoscaled: true, awaited: true, offer, stateReason: `${slug} is idle.` });
const awake = (slug: string): Route => routeTo(slug, [server.url], { autoscaled: true });

beforeAll(async () => {
  controlPlane = await startControlPlane();
  server = await startUpstream(sayName("server"));
  controlPlane.setRoutes([idle("known", "1"), idle("other", "2"), idle("unknown", null), idle("long", "1")]);
  controlPlane.setOffer("deployment-known", "1", OFFER);
  // So long that the system takes little of it for a client that does not read.
  const long = [{ ...TOOLS[0], description: "x".repeat(8 * 1_048_576) }];
  controlPlane.setOffer("deployment-long", "1", { ...OFFER, tools: long });
  // Of what ran before: the route names another.
  controlPlane.setOffer("deployment-other", "1", OFFER);
  running = await startProxy(controlPlane);
  await eventually("the routes", () => running.proxy.health().status !== "unhealthy");
  token = await controlPlane.accessToken("ada");
});
afterAll(async () => {
  await running[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
  await controlPlane[Symbol.asyncDispose]();
});

interface Given {
  slug?: string;
  params?: Record<string, unknown>;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}
function call(method: string, { slug = "known", params = {}, headers = {}, signal }: Given = {}): Promise<Response> {
  return fetch(`${running.url}/mcp/${slug}/v1/mcp`, {
    method: "POST",
    headers: {
      authorization: `Bearer ${token}`,
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      "mcp-protocol-version": "2026-07-28",
      "mcp-method": method,
      ...headers,
    },
    body: JSON.stringify({ jsonrpc: "2.0", id: "a b", method, params: { _meta: META, ...params } }),
    ...(signal && { signal }),
  });
}
const asUser = async (user: string) => ({ authorization: `Bearer ${await controlPlane.accessToken(user)}` });
const loadsOf = (slug: string) =>
  controlPlane.loads.flat().filter(({ deploymentId }) => deploymentId === `deployment-${slug}`);

test("while nothing runs, lists and server/discover are answered by what was offered last, recorded, and wake the deployment", async () => {
  const asked = controlPlane.askedForOffers();
  const tools = await call("tools/list");
  expect(tools.status).toBe(200);
  expect(tools.headers.get("content-type")).toBe("application/json");
  expect(await tools.json()).toEqual({
    jsonrpc: "2.0",
    id: "a b",
    result: { resultType: "complete", tools: TOOLS, ttlMs: 0, cacheScope: "private", _meta: SERVER_INFO },
  });
  const load = await eventually("the load", () => loadsOf("known")[0]);
  expect(load).toMatchObject({ replicaIds: [] });
  expect(load.calls).toBeGreaterThanOrEqual(1);
  const templates = await call("resources/templates/list");
  expect(await templates.json()).toMatchObject({ result: { resourceTemplates: [], ttlMs: 0 } });
  const discovered = await call("server/discover");
  expect(await discovered.json()).toMatchObject({ result: { ...DISCOVERED, ttlMs: 0, cacheScope: "private" } });
  expect(controlPlane.askedForOffers()).toBe(asked + 1);
  const record = await eventually("its record", () =>
    controlPlane.records().find(({ mcpMethod }) => mcpMethod === "tools/list"),
  );
  expect(record).toMatchObject({ deploymentId: "deployment-known", statusCode: 200, mcpFailure: null });
});

test("who may not call gets nothing of it, and wakes nothing", async () => {
  const before = loadsOf("known").length;
  expect((await call("tools/list", { headers: { authorization: "Bearer nonsense" } })).status).toBe(401);
  const reader = await controlPlane.accessToken("rita", "VIEWER", ["READ"]);
  expect((await call("tools/list", { headers: { authorization: `Bearer ${reader}` } })).status).toBe(403);
  await call("tools/list");
  await eventually("the load of who may", () => loadsOf("known").length > before);
  expect(loadsOf("known").length).toBe(before + 1);
});

test("all that only a replica can answer is held for one", async () => {
  const calls: [method: string, given: Given][] = [
    ["tools/call", { params: { name: "wait" }, headers: { "mcp-name": "wait" } }],
    // A page that the offer does not have; a list that is not known; one that the server does not have.
    ["tools/list", { params: { cursor: "2" } }],
    ["resources/list", {}],
    ["prompts/list", {}],
    // Not valid: a replica says why.
    ["tools/list", { headers: { "mcp-method": "server/discover" } }],
    ["tools/list", { params: { _meta: {} } }],
    // Of the session era, which takes a session.
    ["tools/list", { params: { _meta: {} }, headers: { "mcp-protocol-version": "2025-11-25" } }],
    ["tools/list", { headers: { accept: "text/event-stream" } }],
    // The present offer is not known.
    ["tools/list", { slug: "other" }],
    ["tools/list", { slug: "unknown" }],
  ];
  const answers = calls.map(([method, given]) => call(method, given));
  const held = () => (running.proxy.health() as unknown as { calls: { running: number } }).calls.running;
  await eventually("all", () => held() === calls.length);
  expect(server.seen).toHaveLength(0);
  controlPlane.changeRoutes({ routes: [awake("known"), awake("other"), awake("unknown")], removed: [] });
  for (const answer of answers) expect(await (await answer).json()).toEqual({ name: "server" });
  expect(server.seen).toHaveLength(calls.length);
});

test("clients that read nothing of long lists hold no more than a share, and nothing once they are gone", async () => {
  const request = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list", params: { _meta: META } });
  const head = [
    "POST /mcp/long/v1/mcp HTTP/1.1",
    "host: 127.0.0.1",
    `authorization: Bearer ${token}`,
    "content-type: application/json",
    "accept: application/json, text/event-stream",
    "mcp-protocol-version: 2026-07-28",
    "mcp-method: tools/list",
    `content-length: ${Buffer.byteLength(request)}`,
  ];
  const sockets = Array.from({ length: 10 }, () => connect(running.port, "127.0.0.1"));
  const ended = Promise.all(sockets.map((socket) => once(socket, "close")));
  for (const socket of sockets) socket.pause().write(`${head.join("\r\n")}\r\n\r\n${request}`);
  const refused = await eventually("a refusal", async () => {
    const answer = await call("tools/list", { slug: "long" });
    if (answer.status === 503) return answer.text();
    await answer.body?.cancel();
    return null;
  });
  expect(refused).toContain("Large calls of yours");
  const other = await call("tools/list", { slug: "long", headers: await asUser("bob") });
  expect(other.status).toBe(200);
  await other.body?.cancel();
  for (const socket of sockets) socket.destroy();
  await ended;
  await eventually("room", async () => {
    const answer = await call("tools/list", { slug: "long" });
    await answer.body?.cancel();
    return answer.status === 200;
  });
});

test("once a replica is ready, it answers", async () => {
  controlPlane.changeRoutes({ routes: [{ ...awake("known"), offer: "1" }], removed: [] });
  await expect.poll(async () => (await call("tools/list")).json()).toEqual({ name: "server" });
});
