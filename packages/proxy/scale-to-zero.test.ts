import type { Route } from "@toolyard/routes";
import { eventually } from "@toolyard/testing";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startControlPlane, type FakeControlPlane } from "./fixtures/control-plane.ts";
import { routeTo, startProxy, type RunningProxy } from "./fixtures/proxy.ts";
import { sayName, startUpstream, type Upstream } from "./fixtures/upstream.ts";

let controlPlane: FakeControlPlane;
let running: RunningProxy;
let server: Upstream;
let token: string;

const idle = (slug: string): Route =>
  routeTo(slug, [], { autoscaled: true, awaited: true, stateReason: `${slug} does not answer. It is idle.` });
const awake = (slug: string): Route => routeTo(slug, [server.url], { autoscaled: true });

beforeAll(async () => {
  controlPlane = await startControlPlane();
  server = await startUpstream(sayName("server"));
  controlPlane.setRoutes([idle("one"), idle("many"), idle("left")]);
  running = await startProxy(controlPlane);
  token = await controlPlane.accessToken("ada");
});
afterAll(async () => {
  await running[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
  await controlPlane[Symbol.asyncDispose]();
});

const call = (slug: string, init: RequestInit = {}, credential = token) =>
  fetch(`${running.url}/mcp/${slug}/v1/mcp`, {
    method: "POST",
    headers: { authorization: `Bearer ${credential}`, "content-type": "application/json" },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list" }),
    ...init,
  });
const loadsOf = (slug: string) =>
  controlPlane.loads.flat().filter(({ deploymentId }) => deploymentId === `deployment-${slug}`);
// Health is declared as JSON of any shape.
const callsRunning = () => (running.proxy.health() as unknown as { calls: { running: number } }).calls.running;

test("calls of an idle deployment are told of at once, held, and answered once a replica is ready; then their end is told", async () => {
  const seen = server.seen.length;
  const answers = [call("one"), call("one"), call("one")];
  await eventually("the load", () => loadsOf("one").some(({ calls }) => calls >= 3));
  expect(server.seen).toHaveLength(seen);
  controlPlane.changeRoutes({ routes: [awake("one")], removed: [] });
  for (const answer of answers) expect((await answer).status).toBe(200);
  await eventually("the replica", () => loadsOf("one").some(({ replicaIds }) => replicaIds.includes("replica-one-0")));
  await eventually("the end", () => controlPlane.loads.at(-1)?.length === 0);
  expect(callsRunning()).toBe(0);
});

test("who is not let in wakes nothing", async () => {
  const answer = await call("left", { headers: { "content-type": "application/json" } });
  expect(answer.status).toBe(401);
  await answer.body?.cancel();
  // A report would come with that of a call that came later.
  const later = new AbortController();
  const held = call("many", { signal: later.signal }).catch(() => null);
  await eventually("the load", () => loadsOf("many").length > 0);
  expect(loadsOf("left")).toEqual([]);
  later.abort();
  await held;
});

test("a bounded number of calls is held, a quarter of them for one user, and the next is refused and told when to come again; who leaves makes room", async () => {
  const leaving = new AbortController();
  const hold = (credential?: string) =>
    Array.from({ length: 25 }, () => call("many", { signal: leaving.signal }, credential).catch(() => null));
  const held = hold();
  await eventually("a quarter", () => loadsOf("many").some(({ calls }) => calls === 25));
  expect((await call("many")).status).toBe(503);
  for (const user of ["bob", "cleo", "dan"]) held.push(...hold(await controlPlane.accessToken(user)));
  await eventually("all", () => loadsOf("many").some(({ calls }) => calls === 100));
  const refused = await call("many", {}, await controlPlane.accessToken("eve"));
  expect(refused.status).toBe(503);
  expect(refused.headers.get("retry-after")).toMatch(/^\d+$/);
  expect(await refused.text()).toContain("too many calls");
  leaving.abort();
  await Promise.all(held);
  await eventually("room", () => callsRunning() === 0);
  const next = call("many");
  await eventually("it", () => callsRunning() === 1);
  controlPlane.changeRoutes({ routes: [awake("many")], removed: [] });
  expect((await next).status).toBe(200);
});
