import { eventually } from "@toolyard/testing";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { startControlPlane, type FakeControlPlane } from "../fixtures/control-plane.ts";
import { routeTo, startProxy, type RunningProxy } from "../fixtures/proxy.ts";
import { startUpstream, type Upstream } from "../fixtures/upstream.ts";

let controlPlane: FakeControlPlane;
let running: RunningProxy;
let upstream: Upstream;
/** The time of the proxy's clock. */
let now = Date.now();
beforeAll(async () => {
  controlPlane = await startControlPlane();
  upstream = await startUpstream((request, response) => {
    if (request.method === "POST") return void response.end("{}");
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write("data: 1\n\n");
  });
  controlPlane.setRoutes(["one", "other"].map((slug) => routeTo(slug, [upstream.url])));
  controlPlane.issueBy(() => now);
  running = await startProxy(controlPlane, { now: () => now });
});
afterAll(async () => {
  await running[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
  await controlPlane[Symbol.asyncDispose]();
});

let user = "";
let count = 0;
beforeEach(() => {
  user = `vera-${(count += 1)}`;
});

async function call(
  slug: string,
  { role = "VIEWER" as const, scopes = ["READ", "INVOKE"] as ("READ" | "INVOKE")[] } = {},
) {
  const token = await controlPlane.accessToken(user, role, scopes);
  return fetch(`${running.url}/mcp/${slug}/v1/mcp`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}` },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "ping" }),
  });
}
const statusOf = async (...given: Parameters<typeof call>) => (await call(...given)).status;
async function openStream(slug: string, role: "VIEWER" | "DEVELOPER" = "VIEWER"): Promise<Response> {
  const token = await controlPlane.accessToken(user, role, ["INVOKE"]);
  const headers = { authorization: `Bearer ${token}`, accept: "text/event-stream" };
  return fetch(`${running.url}/mcp/${slug}/v1/mcp`, { headers });
}

test.each([
  ["VIEW", 403],
  ["USE", 200],
  ["EDIT", 200],
] as const)("a viewer with %s of a tool calls it with %i, and no other", async (access, status) => {
  controlPlane.share("tool-one", user, access);
  expect([await statusOf("one"), await statusOf("other")]).toEqual([status, 403]);
  expect(await statusOf("one", { scopes: ["READ"] })).toBe(403);
  expect(await statusOf("nowhere")).toBe(404);
});

test("a viewer is told what it takes", async () => {
  const refused = await call("one");
  expect(refused.status).toBe(403);
  expect(await refused.text()).toContain("its author has not shared it with you for that (USE)");
});

test("a share takes effect at once, both ways, and is asked for once meanwhile", async () => {
  expect(await statusOf("one")).toBe(403);
  controlPlane.share("tool-one", user, "USE");
  await eventually("the share at the proxy", async () => (await statusOf("one")) === 200);
  const asked = controlPlane.askedForShares();
  for (let times = 0; times < 3; times++) expect(await statusOf("one")).toBe(200);
  expect(controlPlane.askedForShares()).toBe(asked);
  controlPlane.share("tool-one", user, null);
  await eventually("its end at the proxy", async () => (await statusOf("one")) === 403);
});

test("streams end with the share that admitted them, and no others", async () => {
  for (const slug of ["one", "other"]) controlPlane.share(`tool-${slug}`, user, "USE");
  const [ending, lasting, developers] = [
    await openStream("one"),
    await openStream("other"),
    await openStream("one", "DEVELOPER"),
  ];
  controlPlane.share("tool-one", user, "VIEW");
  expect(await ending.text()).toBe("data: 1\n\n");
  for (const { body } of [lasting, developers]) {
    const reader = body?.getReader();
    expect(new TextDecoder().decode((await reader?.read())?.value)).toBe("data: 1\n\n");
    await reader?.cancel();
  }
  expect((await openStream("one")).status).toBe(403);
});

test("while the control plane is away, known shares are good for an hour, and unknown ones cannot be checked", async () => {
  controlPlane.share("tool-one", user, "USE");
  expect(await statusOf("one")).toBe(200);
  await controlPlane.stop();
  const stranger = user;
  now += 60_000;
  expect(await statusOf("one")).toBe(200);
  const unknown = await call("other");
  expect([unknown.status, unknown.headers.get("retry-after"), await unknown.text()]).toEqual([
    503,
    "5",
    expect.stringContaining("cannot be checked now"),
  ]);
  now += 3_600_000;
  user = stranger;
  expect(await statusOf("one")).not.toBe(200);
  await controlPlane.start();
  await eventually("the control plane again", async () => (await statusOf("one")) === 200);
});

test("a key that is limited to tools calls these; others are as if they were not there, whatever its owner may do", async () => {
  const callBy = async (key: string, slug: string) => {
    const headers = { authorization: `Bearer ${key}` };
    const answer = await fetch(`${running.url}/mcp/${slug}/v1/mcp`, { method: "POST", headers, body: "{}" });
    const { detail } = JSON.parse((await answer.text()) || "{}") as { detail?: string };
    return [answer.status, detail?.replaceAll(slug, "…")];
  };
  const keyOf = (role: "ADMIN" | "VIEWER") => {
    const key = `ty_${role}-${user}_secret`;
    controlPlane.addApiKey(key, { userId: user, role, scopes: ["INVOKE"], toolIds: ["tool-one"] });
    return key;
  };
  const [admins, viewers] = [keyOf("ADMIN"), keyOf("VIEWER")];
  expect((await callBy(admins, "one"))[0]).toBe(200);
  const other = await callBy(admins, "other");
  expect(other).toEqual([404, expect.stringContaining("it is limited to certain tools")]);
  expect(await callBy(admins, "nowhere")).toEqual(other);
  controlPlane.share("tool-other", user, "USE");
  expect((await callBy(viewers, "one"))[0]).toBe(403);
  expect(await callBy(viewers, "other")).toEqual(other);
  controlPlane.share("tool-one", user, "USE");
  await eventually("the share at the proxy", async () => (await callBy(viewers, "one"))[0] === 200);
});
