import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "@toolyard/testing";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startControlPlane, type FakeControlPlane } from "./fixtures/control-plane.ts";
import { routeTo, startProxy, withTokens, type RunningProxy } from "./fixtures/proxy.ts";
import type { Route } from "@toolyard/routes";
import { sayName, startUpstream, type Upstream } from "./fixtures/upstream.ts";

const KEY = `ty_${"0".repeat(8)}-1111-7111-8111-${"1".repeat(12)}_${"s".repeat(43)}`;
const KEY_ID = `${"0".repeat(8)}-1111-7111-8111-${"1".repeat(12)}`;

let controlPlane: FakeControlPlane;
let echo: Upstream;
let dataDir: string;
let clock: { now: number };
let running: RunningProxy | null = null;

beforeEach(async () => {
  clock = { now: Date.now() };
  controlPlane = await startControlPlane();
  echo = await startUpstream(sayName("echo"), { token: "token-echo-0" });
  controlPlane.setRoutes([withTokens(routeTo("echo", [echo.url]))]);
  controlPlane.addApiKey(KEY, { userId: "ada", role: "DEVELOPER", scopes: ["INVOKE"] });
  dataDir = await mkdtemp(join(tmpdir(), "toolyard-proxy-"));
});
afterEach(async () => {
  await running?.[Symbol.asyncDispose]();
  running = null;
  await echo[Symbol.asyncDispose]();
  await controlPlane[Symbol.asyncDispose]();
  await rm(dataDir, { recursive: true, force: true });
});

const start = async () => {
  running = await startProxy(controlPlane, { dataDir, now: () => clock.now });
  return running;
};
const statusWith = async ({ url }: RunningProxy, credential: string) => {
  const answer = await fetch(`${url}/mcp/echo/v1/mcp`, { headers: { authorization: `Bearer ${credential}` } });
  await answer.arrayBuffer();
  return answer.status;
};
// Health says as much of routes, as JSON.
const routesOf = ({ proxy }: RunningProxy) => proxy.health()["routes"] as { version: string; count: number };
const isConnected = ({ proxy }: RunningProxy) => proxy.health().connected === true;

describe("credentials", () => {
  test("are judged by identity's clock, and health says how far this host's is from it", async () => {
    controlPlane.setClock(Date.now);
    clock.now += 7_200_000;
    const apart = await start();
    expect(await statusWith(apart, await controlPlane.accessToken("ada"))).toBe(200);
    expect(apart.proxy.health()).toMatchObject({
      status: "degraded",
      clock: expect.stringMatching(/7\d\d\d s ahead of identity's/) as unknown,
    });
  });

  test("an API key is asked about once in 30 s", async () => {
    const proxy = await start();
    expect(await Promise.all([statusWith(proxy, KEY), statusWith(proxy, KEY)])).toEqual([200, 200]);
    expect(await statusWith(proxy, KEY)).toBe(200);
    expect(controlPlane.introspections()).toBe(1);
    clock.now += 31_000;
    expect(await statusWith(proxy, KEY)).toBe(200);
    expect(controlPlane.introspections()).toBe(2);
  });

  test("a revoked API key is dropped at once, and so is a disabled user's", async () => {
    const proxy = await start();
    expect(await statusWith(proxy, KEY)).toBe(200);
    controlPlane.removeApiKey(KEY);
    controlPlane.revoke({ userId: "ada" });
    await eventually("401", async () => (await statusWith(proxy, KEY)) === 401);
    controlPlane.addApiKey(KEY, { userId: "ada", role: "DEVELOPER", scopes: ["INVOKE"] });
    clock.now += 5_000;
    expect(await statusWith(proxy, KEY)).toBe(200);
    controlPlane.revoke({ apiKeyId: KEY_ID });
    await eventually("401", async () => (await statusWith(proxy, KEY)) === 401);
  });

  test("a revoked access token is dropped at once, and a stream that it opened is ended", async () => {
    const events = await startUpstream(
      (_request, response) => {
        response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
      },
      { atHead: true },
    );
    controlPlane.setRoutes([withTokens(routeTo("echo", [echo.url])), routeTo("events", [events.url])]);
    const proxy = await start();
    const token = await controlPlane.accessToken("ada");
    const other = await controlPlane.accessToken("bob");
    expect(await statusWith(proxy, token)).toBe(200);
    const stream = await fetch(`${proxy.url}/mcp/events/v1/mcp`, {
      headers: { authorization: `Bearer ${token}`, accept: "text/event-stream" },
    });
    controlPlane.revoke({ userId: "ada", at: Date.now() + 1 });
    expect(await stream.text()).toBe("");
    expect(await statusWith(proxy, token)).toBe(401);
    expect(await statusWith(proxy, other)).toBe(200);
    await events.kill();
  });

  test("while identity is away what was good stays good for an hour; what is unknown is 503, what is rubbish is 401", async () => {
    const proxy = await start();
    const token = await controlPlane.accessToken("ada");
    expect(await statusWith(proxy, KEY)).toBe(200);
    await controlPlane.stop();
    await eventually("away", () => !isConnected(proxy));
    clock.now += 10 * 60_000;
    expect(await statusWith(proxy, KEY)).toBe(200);
    expect(await statusWith(proxy, token)).toBe(200);
    expect(await statusWith(proxy, KEY.replace("sss", "xxx"))).toBe(503);
    expect(await statusWith(proxy, "rubbish")).toBe(401);
    clock.now += 51 * 60_000;
    expect(await statusWith(proxy, KEY)).toBe(503);
    await controlPlane.start();
    await eventually("connected", () => isConnected(proxy));
    clock.now += 5_000;
    expect(await statusWith(proxy, KEY)).toBe(200);
  });
});

describe("routes", () => {
  test("are used from disk when the control plane is away at the start, and the files are private", async () => {
    const first = await start();
    await eventually("the file", () => readFile(join(dataDir, "proxy/routes.json")));
    await first[Symbol.asyncDispose]();
    const token = await controlPlane.accessToken("ada");
    await controlPlane.stop();
    const second = await start();
    expect(second.proxy.health()).toMatchObject({
      status: "degraded",
      connected: false,
      routes: { count: 1, live: false },
    });
    // Nobody can say whether it was revoked meanwhile.
    expect(await statusWith(second, token)).toBe(503);
    expect(await statusWith(second, "rubbish")).toBe(401);
    expect(await readFile(join(dataDir, "proxy/routes.json"), "utf8")).not.toContain("token-");
    for (const name of ["routes.json", "jwks.json"]) {
      expect((await stat(join(dataDir, "proxy", name))).mode & 0o777).toBe(0o600);
    }
    controlPlane.revoke({ userId: "ada", at: Date.now() + 1 });
    const other = await controlPlane.accessToken("bob");
    await controlPlane.start();
    await eventually("the revocations", async () => (await statusWith(second, other)) === 200);
    expect(await statusWith(second, token)).toBe(401);
  });

  test("unknown ones are 503 before the first table, not 404, and it serves as soon as the table is there", async () => {
    await controlPlane.stop();
    const proxy = await start();
    expect(proxy.proxy.health().status).toBe("unhealthy");
    const token = await controlPlane.accessToken("ada");
    expect(await statusWith(proxy, token)).toBe(503);
    await controlPlane.start();
    await eventually("connected", () => isConnected(proxy));
    await eventually("200", async () => (await statusWith(proxy, token)) === 200);
  });

  test("are asked for from where the proxy is, also after its own restart, and what changed meanwhile is taken in", async () => {
    const first = await start();
    controlPlane.changeRoutes({ routes: [routeTo("other", [])], removed: [] });
    await eventually("a change", () => routesOf(first).count === 2);
    await controlPlane.stop();
    controlPlane.changeRoutes({ routes: [routeTo("third", [])], removed: [routeTo("other", []).key] });
    controlPlane.changeRoutes({ routes: [routeTo("fourth", [])], removed: [] });
    await controlPlane.start();
    await eventually("the changes since", () => routesOf(first).version === "4");
    expect(routesOf(first).count).toBe(3);
    await first[Symbol.asyncDispose]();
    controlPlane.changeRoutes({ routes: [], removed: [routeTo("fourth", []).key] });
    const second = await start();
    await eventually("the change since", () => routesOf(second).version === "5");
    expect(routesOf(second).count).toBe(2);
    expect(controlPlane.askedFrom).toEqual(["", "p2", "p4"]);
    expect(await statusWith(second, await controlPlane.accessToken("ada"))).toBe(200);
  });

  test("one that is not as agreed is not used, and keeps no other from being", async () => {
    const proxy = await start();
    const strange = {
      ...routeTo("strange", []),
      targets: [{ replicaId: "r", url: "vsock:7", token: "", ready: true }],
    };
    controlPlane.changeRoutes({ routes: [routeTo("strange", [])], removed: [] });
    await eventually("both", () => routesOf(proxy).count === 2);
    // What a later version of the control plane may say.
    controlPlane.changeRoutes({ routes: [routeTo("other", []), withDefaults(strange)], removed: [] });
    await eventually("the change", () => routesOf(proxy).version === "3");
    const token = await controlPlane.accessToken("ada");
    expect(await statusWith(proxy, token)).toBe(200);
    const answer = await fetch(`${proxy.url}/mcp/strange/v1/mcp`, { headers: { authorization: `Bearer ${token}` } });
    expect(answer.status).toBe(404);
    expect(routesOf(proxy).count).toBe(2);
    const authorization = `Bearer ${await controlPlane.accessToken("root", "ADMIN", ["ADMIN"])}`;
    const refused = async () => {
      const metrics = await (await fetch(`${proxy.url}/metrics`, { headers: { authorization } })).text();
      return /^toolyard_proxy_routes_refused (\d+)/m.exec(metrics)?.[1];
    };
    expect(await refused()).toBe("1");
    controlPlane.changeRoutes({ routes: [routeTo("strange", [])], removed: [] });
    await eventually("it is good again", async () => (await refused()) === "0");
  });
});

/** The fake control plane's schema wants all of a target. */
function withDefaults(route: Omit<Route, "targets"> & { targets: Partial<Route["targets"][number]>[] }): Route {
  const [all] = routeTo("any", ["http://127.0.0.1:1"]).targets;
  // All of `all` is there.
  return { ...route, targets: route.targets.map((target) => ({ ...all, ...target }) as Route["targets"][number]) };
}

describe("usage", () => {
  test("waits on disk while the control plane does not take it, survives a restart, and is counted once", async () => {
    const first = await start();
    controlPlane.refuseUsage("INTERNAL_SERVER_ERROR");
    const token = await controlPlane.accessToken("ada");
    for (let calls = 0; calls < 7; calls += 1) expect(await statusWith(first, token)).toBe(200);
    await eventually("a sealed batch", async () =>
      (await readdir(join(dataDir, "proxy/usage"))).some((name) => name.endsWith(".batch")),
    );
    await first[Symbol.asyncDispose]();
    expect(controlPlane.records()).toEqual([]);
    const second = await start();
    expect(await statusWith(second, token)).toBe(200);
    controlPlane.refuseUsage(null);
    await eventually("all records", () => controlPlane.records().length === 8);
    await eventually("an empty spool", async () => (await readdir(join(dataDir, "proxy/usage"))).length === 0);
    expect(second.proxy.health()).toMatchObject({ spool: { batches: 0, bytes: 0, dropped: 0 } });
  });

  test("waits on disk while the control plane is of an earlier version, and is counted once it is upgraded", async () => {
    const proxy = await start();
    controlPlane.setEarlier(true);
    const token = await controlPlane.accessToken("ada");
    for (let calls = 0; calls < 3; calls += 1) expect(await statusWith(proxy, token)).toBe(200);
    await eventually("refused", () => controlPlane.refusals() > 0);
    await proxy[Symbol.asyncDispose]();
    const files = await readdir(join(dataDir, "proxy/usage"));
    expect(files.length).toBeGreaterThan(0);
    expect(files.filter((name) => !name.endsWith(".batch"))).toEqual([]);
    controlPlane.setEarlier(false);
    await start();
    await eventually("all records", () => controlPlane.records().length === 3);
  });

  test("a batch that was damaged on disk is set aside, and the next one comes", async () => {
    await mkdir(join(dataDir, "proxy/usage"), { recursive: true });
    const id = "00000000-0000-7000-8000-000000000000";
    await writeFile(join(dataDir, `proxy/usage/${id}.batch`), '{"at": broken\n');
    const proxy = await start();
    const token = await controlPlane.accessToken("ada");
    await statusWith(proxy, token);
    await eventually("the next", () => controlPlane.records().length === 1);
    expect(await readdir(join(dataDir, "proxy/usage"))).toContain(`${id}.refused`);
  });

  test("a batch that the control plane refuses for good does not keep the next from coming", async () => {
    const proxy = await start();
    controlPlane.refuseUsage("BAD_USER_INPUT");
    const token = await controlPlane.accessToken("ada");
    await statusWith(proxy, token);
    await eventually("set aside", async () =>
      (await readdir(join(dataDir, "proxy/usage"))).some((name) => name.endsWith(".refused")),
    );
    controlPlane.refuseUsage(null);
    await statusWith(proxy, token);
    await eventually("the next", () => controlPlane.records().length === 1);
    expect(proxy.proxy.health()).toMatchObject({ spool: { dropped: 1 } });
  });
});

test("keys are not asked for again and again by tokens that name unknown ones", async () => {
  const proxy = await start();
  await statusWith(proxy, await controlPlane.accessToken("ada"));
  const before = controlPlane.keyRequests();
  for (let tries = 0; tries < 5; tries += 1) {
    const header = Buffer.from(JSON.stringify({ alg: "EdDSA", kid: `unknown-${tries}` })).toString("base64url");
    const signature = createHash("sha512").update(String(tries)).digest("base64url");
    expect(await statusWith(proxy, `${header}.e30.${signature}`)).toBe(401);
  }
  expect(controlPlane.keyRequests() - before).toBeLessThanOrEqual(1);
});
