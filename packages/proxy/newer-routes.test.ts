import type { RouteTable } from "@toolyard/routes";
import { eventually } from "@toolyard/testing";
import { afterEach, beforeEach, expect, test } from "vitest";
import { startControlPlane, type FakeControlPlane } from "./fixtures/control-plane.ts";
import { routeTo, startProxy, type RunningProxy } from "./fixtures/proxy.ts";
import { startUpstream, type Upstream } from "./fixtures/upstream.ts";

/* The control plane has told its users of a change, and what it tells this proxy of that is still on its way. */

let controlPlane: FakeControlPlane;
let running: RunningProxy;
let server: Upstream;
let token: string;

beforeEach(async () => {
  controlPlane = await startControlPlane();
  server = await startUpstream((_request, response) => {
    response.writeHead(200, { "content-type": "application/json", "mcp-session-id": "own" }).end("{}");
  });
  token = await controlPlane.accessToken("ada");
});
afterEach(async () => {
  await running[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
  await controlPlane[Symbol.asyncDispose]();
});

async function start(routes: RouteTable["routes"] = []): Promise<void> {
  controlPlane.setRoutes(routes);
  running = await startProxy(controlPlane);
}
const changed = (route: RouteTable["routes"][number]) => {
  controlPlane.holdRoutes(true);
  controlPlane.changeRoutes({ routes: [route], removed: [] });
};
const call = (slug: string, headers: Record<string, string> = {}) =>
  fetch(`${running.url}/mcp/${slug}/v1/mcp`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json", ...headers },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "initialize" }),
  });
/** The answer to a call that comes before the change, once it has come here. */
async function answerAcross(slug: string, headers: Record<string, string> = {}): Promise<Response> {
  const asked = controlPlane.askedForVersion();
  const answer = call(slug, headers);
  await Promise.race([answer, eventually("the question", () => controlPlane.askedForVersion() > asked)]);
  controlPlane.holdRoutes(false);
  return answer;
}

test("what was deployed is called, also by its name", async () => {
  await start();
  changed(routeTo("new", [server.url]));
  expect((await answerAcross("new")).status).toBe(200);
  changed(routeTo("new", [server.url], { ref: "new-abcde" }));
  expect((await answerAcross("new@new-abcde")).status).toBe(200);
});

test("what was stopped, failed or elsewhere and is deployed again is called", async () => {
  await using gone = await startUpstream(() => undefined);
  await gone.kill();
  await start([routeTo("stopped", [], { stateReason: "stopped is stopped." }), routeTo("moved", [gone.url])]);
  for (const slug of ["stopped", "moved"]) {
    changed(routeTo(slug, [server.url]));
    expect((await answerAcross(slug)).status, slug).toBe(200);
  }
});

test("a session that another proxy began with a new replica goes on here", async () => {
  const before = routeTo("tool", [server.url]);
  const replica = { ...before.targets[0], replicaId: "replica-tool-new" };
  const after = { ...before, targets: [replica] as typeof before.targets };
  await start([after]);
  const session = (await call("tool")).headers.get("mcp-session-id") ?? "";
  await running[Symbol.asyncDispose]();
  await start([before]);
  changed(after);
  // It is not said to be lost before that is known.
  expect((await call("tool", { "mcp-session-id": session })).status).toBe(503);
  expect((await answerAcross("tool", { "mcp-session-id": session })).status).toBe(200);
});

test("what is not deployed is 404 as soon as the control plane says that the table is new, by few questions", async () => {
  await start([routeTo("tool", [server.url])]);
  const statuses = await Promise.all(
    Array.from({ length: 40 }, async (_, index) => (await call(`no-${index}`)).status),
  );
  expect(statuses).toEqual(statuses.map(() => 404));
  expect(controlPlane.askedForVersion()).toBeLessThanOrEqual(5);
  const before = controlPlane.askedForVersion();
  expect((await call("tool")).status).toBe(200);
  expect((await call("none", { authorization: "" })).status).toBe(401);
  expect(controlPlane.askedForVersion()).toBe(before);
});

test("what does not come in time is to be tried again", async () => {
  await start();
  changed(routeTo("new", [server.url]));
  const answer = await call("new");
  expect(answer.status).toBe(503);
  expect(answer.headers.get("retry-after")).toBe("1");
});

test("while the control plane is away, nobody knows whether it is deployed: 503", async () => {
  await start([routeTo("tool", [server.url])]);
  expect((await call("none")).status).toBe(404);
  await controlPlane.stop();
  expect((await call("none")).status).toBe(503);
  expect((await call("tool")).status).toBe(200);
});
