import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CALLER_HEADER, createTokenSigner, createUserCaller } from "@toolyard/service-kit";
import { eventually, freePort } from "@toolyard/testing";
import { afterAll, beforeAll, expect, test } from "vitest";

/* The identity subgraph and the gateway as processes of their own. All parts together are in parts-killed.test.ts. */

const root = join(import.meta.dirname, "../..");
const SECRET_KEY = "a secret key for tests, of enough characters";
const METRICS_TOKEN = "a-token-for-scrapers";
const processes: ChildProcess[] = [];
let dataDir: string;
let gatewayUrl: string;
let identityUrl: string;

async function start(entry: string, env: Record<string, string>, ready: string): Promise<void> {
  const child = spawn(process.execPath, [join(root, entry)], {
    cwd: root,
    env: { PATH: process.env.PATH, DATA_DIR: dataDir, SECRET_KEY, METRICS_TOKEN, LOG_LEVEL: "error", ...env },
    stdio: "ignore",
  });
  processes.push(child);
  await eventually(`${entry} answers`, async () => (await fetch(ready)).ok || undefined);
}

async function startGateway(url: string, env: Record<string, string> = {}): Promise<void> {
  const elsewhere = ["tools", "knowledge", "analysis", "deployments"].map(
    (name) => `${name}=http://127.0.0.1:1/graphql`,
  );
  const SUBGRAPH_URLS = [`identity=${identityUrl}`, ...elsewhere].join(",");
  await start(
    "gateway/main.ts",
    { PORT: new URL(url).port, TRUST_PROXY: "true", SUBGRAPH_URLS, ...env },
    url.replace("graphql", "health/live"),
  );
}

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "toolyard-parts-"));
  const [identityPort, gatewayPort] = [await freePort(), await freePort()];
  identityUrl = `http://127.0.0.1:${identityPort}/graphql`;
  gatewayUrl = `http://127.0.0.1:${gatewayPort}/graphql`;
  await start(
    "subgraphs/identity/main.ts",
    { PORT: String(identityPort), GATEWAY_URL: new URL(gatewayUrl).origin, ADMIN_PASSWORD: "correct horse battery" },
    identityUrl.replace("graphql", "health"),
  );
  await startGateway(gatewayUrl);
});
afterAll(async () => {
  for (const child of processes.toReversed()) {
    const ended = once(child, "close");
    child.kill("SIGTERM");
    await ended;
  }
  await rm(dataDir, { recursive: true, force: true });
});

async function ask(url: string, query: string, headers: Record<string, string> = {}) {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify({ query }),
  });
  // The test's word for what GraphQL over HTTP answers.
  return (await response.json()) as { data?: Record<string, unknown>; errors?: { extensions: { code: string } }[] };
}
const login = (password: string) =>
  `mutation { login(username: "admin", password: "${password}") { accessToken user { username } } }`;
const codeOf = async (...asked: Parameters<typeof ask>) => (await ask(...asked)).errors?.[0]?.extensions.code ?? null;

test("failed logins are counted for each client's address, which the gateway tells identity", async () => {
  const from = (address: string) => ({ "x-forwarded-for": address });
  const codes: unknown[] = [];
  for (let n = 0; n < 12; n++) codes.push(await codeOf(gatewayUrl, login("wrong"), from("192.0.2.1")));
  expect(codes.slice(0, 10)).toEqual(Array.from({ length: 10 }, () => "UNAUTHENTICATED"));
  expect(codes.slice(10)).toEqual(["RATE_LIMITED", "RATE_LIMITED"]);
  expect(await codeOf(gatewayUrl, login("correct horse battery"), from("198.51.100.7"))).toBeNull();
});

test("who comes past the gateway is counted by where the connection comes from", async () => {
  for (let n = 0; n < 10; n++) expect(await codeOf(identityUrl, login("wrong"))).toBe("UNAUTHENTICATED");
  expect(await codeOf(identityUrl, login("wrong"), { "x-forwarded-for": "203.0.113.1" })).toBe("RATE_LIMITED");
  expect(await codeOf(gatewayUrl, login("correct horse battery"), { "x-forwarded-for": "203.0.113.1" })).toBeNull();
});

test("a caller header signed for one part is worth nothing at another", async () => {
  const signer = createTokenSigner({ secretKey: SECRET_KEY });
  const { data } = await ask(gatewayUrl, "{ __typename }");
  expect(data).toEqual({ __typename: "Query" });
  const users = "{ users { totalCount } }";
  for (const [url, own] of [
    [gatewayUrl, "gateway"],
    [identityUrl, "identity"],
  ] as const) {
    for (const audience of ["gateway", "identity", "tools"]) {
      const header = await signer.callerHeader(createUserCaller("somebody", "ADMIN"), audience);
      expect(await codeOf(url, users, { [CALLER_HEADER]: header })).toBe(audience === own ? null : "UNAUTHENTICATED");
      // Underscores are another name to Node, and nothing that it sends on.
      expect(await codeOf(url, users, { x_toolyard_caller: header })).toBe("UNAUTHENTICATED");
    }
  }
});

test("with EXECUTOR=apollo a subgraph is told the caller as well, and nobody's own what is another's", async () => {
  const url = `http://127.0.0.1:${await freePort()}/graphql`;
  await startGateway(url, { EXECUTOR: "apollo" });
  const { data } = await ask(url, login("correct horse battery"), { "x-forwarded-for": "198.51.100.8" });
  const { accessToken } = (data?.["login"] ?? {}) as { accessToken?: string };
  const query = "{ me { username } users { totalCount } }";
  const known = await ask(url, query, { authorization: `Bearer ${accessToken}` });
  expect(known).toEqual({ data: { me: { username: "admin" }, users: { totalCount: 1 } } });
  const refused = { code: "UNAUTHENTICATED", service: "identity" };
  expect(await ask(url, query)).toMatchObject({
    data: null,
    errors: [
      { path: ["me"], extensions: refused },
      { path: ["users"], extensions: refused },
    ],
  });
  expect(await codeOf(url, "{ tools { totalCount } }", { authorization: `Bearer ${accessToken}` })).toBe(
    "UPSTREAM_UNAVAILABLE",
  );
});

test("a subgraph alone shows what it counts to scrapers, and the gateway alone shows what its subgraphs count", async () => {
  const authorization = `Bearer ${METRICS_TOKEN}`;
  for (const url of [gatewayUrl, identityUrl]) {
    const metrics = url.replace("graphql", "metrics");
    expect((await fetch(metrics)).status).toBe(401);
    const text = await (await fetch(metrics, { headers: { authorization } })).text();
    expect(text).toMatch(/^# TYPE user_sessions gauge\nuser_sessions \d+$/m);
    expect(text).toContain("process_cpu_seconds_total");
    // The gateway of this test has four subgraphs that nothing answers for.
    expect(text).toContain(`toolyard_gauges_up ${url === gatewayUrl ? 0 : 1}\n`);
  }
});

test("DATA_DIR is for its user alone", async () => {
  for (const path of [dataDir, join(dataDir, "identity.sqlite")]) expect((await stat(path)).mode & 0o077).toBe(0);
});
