import type { Route } from "@toolyard/routes";
import { eventually } from "@toolyard/testing";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startControlPlane, type FakeControlPlane } from "./fixtures/control-plane.ts";
import { routeTo, startProxy, type RunningProxy } from "./fixtures/proxy.ts";
import { sayName, startUpstream, type Upstream } from "./fixtures/upstream.ts";

let controlPlane: FakeControlPlane;
let running: RunningProxy;
let replicas: Upstream[];

beforeAll(async () => {
  controlPlane = await startControlPlane();
  replicas = await Promise.all(["a", "b", "c"].map((name) => startUpstream(sayName(name))));
  controlPlane.setRoutes([route("ROUND_ROBIN"), route("STICKY")]);
  running = await startProxy(controlPlane);
  await eventually("the routes", () => running.proxy.health().status !== "unhealthy");
});
afterAll(async () => {
  await running[Symbol.asyncDispose]();
  for (const replica of replicas) await replica[Symbol.asyncDispose]();
  await controlPlane[Symbol.asyncDispose]();
});

const slugOf = (balance: Route["balance"]) => balance.toLowerCase().replace("_", "-");
function route(balance: Route["balance"], isReady: (index: number) => boolean = () => true): Route {
  const urls = replicas.map(({ url }) => url);
  const whole = routeTo(slugOf(balance), urls, { balance });
  return { ...whole, targets: whole.targets.map((target, index) => ({ ...target, ready: isReady(index) })) };
}
async function call(balance: Route["balance"], token: string): Promise<string> {
  const answer = await fetch(`${running.url}/mcp/${slugOf(balance)}/v1/mcp`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list" }),
  });
  expect(answer.status).toBe(200);
  return ((await answer.json()) as { name: string }).name;
}

test("in turn, replicas get as many calls each, across changes of the route", async () => {
  const token = await controlPlane.accessToken("ada");
  const names: string[] = [];
  for (let calls = 0; calls < 9; calls += 1) {
    names.push(await call("ROUND_ROBIN", token));
    if (calls % 2 === 0) controlPlane.changeRoutes({ routes: [route("ROUND_ROBIN")], removed: [] });
  }
  const [first = "", second = "", third = ""] = names;
  expect(new Set([first, second, third]).size).toBe(3);
  expect(names).toEqual([first, second, third, first, second, third, first, second, third]);
});

test("sticky, each user has one replica, and only those of one that does not serve move, until it does", async () => {
  const tokens = await Promise.all(Array.from({ length: 20 }, (_, index) => controlPlane.accessToken(`user-${index}`)));
  const homes = () => Promise.all(tokens.map((token) => call("STICKY", token)));
  const before = await homes();
  expect(await homes()).toEqual(before);
  expect(new Set(before).size).toBe(3);
  controlPlane.changeRoutes({ routes: [route("STICKY", (index) => index !== 0)], removed: [] });
  await expect.poll(homes).not.toContain("a");
  expect(await homes()).toEqual(before.map((home) => (home === "a" ? expect.stringMatching(/[bc]/) : home)));
  controlPlane.changeRoutes({ routes: [route("STICKY")], removed: [] });
  await expect.poll(homes).toEqual(before);
});
