import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { CALLER_HEADER, createTokenSigner, createUserCaller } from "@toolyard/service-kit";
import { connectMcp, eventually, graphqlClient, logIn, processesWith, type McpClient } from "@toolyard/testing";
import { createClient } from "graphql-ws";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { WebSocket } from "ws";
import {
  keepFollowing,
  keepTrying,
  missingFrom,
  namesOf,
  refusalsOf,
  untilMore,
  type Attempts,
  type Followed,
} from "./fixtures/load.ts";
import {
  PARTS,
  SUBGRAPHS,
  documentedLoss,
  startParts,
  type Part,
  type RunningParts,
  type Subgraph,
} from "./fixtures/parts.ts";

/*
 * Gateway, five subgraphs and proxy, each a process of its own, started once. Each is killed in turn while calls, writes and
 * subscriptions go on: the table "what is away" of docs/operating.md is held to what is seen here.
 */

/** How soon revocations hold, also where identity was away: the 5 s of docs/operating.md, three times over for a busy machine. */
const REVOKED_WITHIN_MS = 3 * 5_000;
/** Operations of each subgraph that take a caller. */
const READS: Record<Subgraph, string> = {
  identity: "{ me { id } }",
  tools: "{ tools(first: 1) { totalCount } }",
  knowledge: "{ documents(first: 1) { totalCount } }",
  analysis: "{ tasks(first: 1) { totalCount } }",
  deployments: "{ deployments(first: 1) { totalCount } }",
};
const UNKNOWN_KEY = `ty_00000000-1111-7111-8111-111111111111_${"s".repeat(43)}`;

let parts: RunningParts;
let admin: ReturnType<typeof graphqlClient>;
let token: string;
let deployment: { id: string; mcpUrl: string };
let toolId: string;
let apiKey: ApiKey;
/** How often each call was carried out, by its id. */
const witnessed = new Map<string, number>();
const witness = createServer((request, response) => {
  const id = request.url?.slice(1) ?? "";
  witnessed.set(id, (witnessed.get(id) ?? 0) + 1);
  response.end();
});
let password: string;
let load: Load;

const WRITERS = ["knowledge", "tools", "identity"] as const;
type Writer = (typeof WRITERS)[number];
interface ApiKey {
  id: string;
  secret: string;
}
/** What goes on all the time. */
interface Load {
  calls: Attempts;
  writes: Record<Writer, Attempts>;
  changes: Followed;
  /** The same at another gateway, which nobody kills. */
  elsewhere: Followed;
  events: Followed;
  stop(): Promise<void>;
}

beforeAll(async () => {
  await new Promise<void>((done) => witness.listen(0, "127.0.0.1", done));
  // A TCP server's address is never a pipe's string.
  const { port } = witness.address() as AddressInfo;
  parts = await startParts({ REPLICAS_ON_EXIT: "stop" });
  password = (await readFile(join(parts.dataDir, "admin-password"), "utf8")).trim();
  token = await logIn(parts.urls.gateway, "admin", password);
  admin = graphqlClient(parts.urls.gateway, token);
  apiKey = await createKey("for calls");

  const launch = {
    command: process.execPath,
    args: [join(import.meta.dirname, "fixtures/witness.mjs")],
    env: [{ name: "WITNESS_URL", value: `http://127.0.0.1:${port}` }],
  };
  const { createTool } = await admin.query<{ createTool: { id: string } }>(
    "mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }",
    { input: { name: "Witness", description: "parts", launch: { stdio: launch } } },
  );
  toolId = createTool.id;
  const { deployTool } = await admin.query<{ deployTool: { id: string; mcpUrl: string } }>(
    "mutation ($input: DeployToolInput!) { deployTool(input: $input) { id mcpUrl } }",
    { input: { toolId } },
  );
  deployment = deployTool;
  await eventually("RUNNING", async () => (await deploymentNow()).health === "HEALTHY");
  await eventually("the route", async () => (await statusAtProxy(token)) !== 404);
  load = await startLoad();
});

afterAll(async () => {
  await load?.stop();
  await parts?.stop();
  witness.close();
  if (parts) expect(await processesWith(parts.dataDir)).toEqual([]);
});

async function startLoad(): Promise<Load> {
  let client: McpClient | null = null;
  const note = async (id: string) => {
    client ??= await connectMcp("v2-stateless", deployment.mcpUrl, token);
    return (await client.callTool("note", { id })) === id ? null : "ANSWER";
  };
  const write = (mutation: string) => async (id: string) => {
    const { errors } = await admin.send(`mutation ($id: String!) { ${mutation} }`, { id });
    return errors[0]?.extensions.code ?? null;
  };
  const launch = '{ stdio: { command: "node" } }';
  const calls = keepTrying("call", note);
  const writes = {
    knowledge: keepTrying("knowledge", write("uploadDocument(input: { title: $id, content: $id }) { id }")),
    tools: keepTrying("tools", write(`createTool(input: { name: $id, description: "", launch: ${launch} }) { id }`)),
    identity: keepTrying("identity", write("createApiKey(input: { name: $id, scopes: [READ] }) { secret }")),
  };
  const changes = keepFollowing(parts.urls.gateway, token, "toolChanged");
  const elsewhere = keepFollowing(await parts.startSecondGateway(), token, "toolChanged");
  const events = keepFollowing(parts.urls.gateway, token, "deploymentEvents");
  return {
    calls,
    writes,
    changes,
    elsewhere,
    events,
    async stop() {
      await Promise.all([calls, ...Object.values(writes), changes, elsewhere, events].map((running) => running.stop()));
      await client?.close();
    },
  };
}

/* What is asked. */

/** A deployment as asked for. */
interface Deployment {
  status: string;
  health: string;
  replicas: { id: string; phase: string; restarts: number }[];
}
async function deploymentNow(): Promise<Deployment> {
  const { deployment: found } = await admin.query<{ deployment: Deployment }>(
    "query ($id: ID!) { deployment(id: $id) { status health replicas { id phase restarts } } }",
    { id: deployment.id },
  );
  return found;
}

async function createKey(name: string): Promise<ApiKey> {
  const { createApiKey: made } = await admin.query<{ createApiKey: { apiKey: { id: string }; secret: string } }>(
    "mutation ($name: String!) { createApiKey(input: { name: $name, scopes: [READ, INVOKE] }) { apiKey { id } secret } }",
    { name },
  );
  return { id: made.apiKey.id, secret: made.secret };
}

/** Status, code and Retry-After, of a request with this credential. */
interface Seen {
  status: number;
  code: string | null;
  message: string | null;
  retryAfter: string | null;
}
async function atGateway(credential: string, query = READS.tools): Promise<Seen> {
  const response = await fetch(`${parts.urls.gateway}/graphql`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "application/graphql-response+json",
      authorization: `Bearer ${credential}`,
    },
    body: JSON.stringify({ query }),
  });
  const { errors } = (await response.json()) as { errors?: { message: string; extensions: { code: string } }[] };
  return {
    status: response.status,
    code: errors?.[0]?.extensions.code ?? null,
    message: errors?.[0]?.message ?? null,
    retryAfter: response.headers.get("retry-after"),
  };
}
const INITIALIZE = JSON.stringify({
  jsonrpc: "2.0",
  id: 1,
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "test", version: "1" } },
});
function callMcp(credential: string, init: { method?: string; body?: string; session?: string } = {}) {
  const { method = "POST", body, session } = init;
  return fetch(deployment.mcpUrl, {
    method,
    headers: {
      authorization: `Bearer ${credential}`,
      accept: method === "GET" ? "text/event-stream" : "application/json, text/event-stream",
      "content-type": "application/json",
      ...(session !== undefined && { "mcp-session-id": session }),
    },
    ...(method === "POST" && { body: body ?? INITIALIZE }),
  });
}
async function atProxy(credential: string): Promise<Seen> {
  // Belongs to no session and makes none.
  const response = await callMcp(credential, { body: '{"jsonrpc":"2.0","id":1,"method":"no/such"}' });
  const { error } = (await response.json().catch(() => ({}))) as { error?: { message: string; data?: Partial<Seen> } };
  return {
    status: response.status,
    code: error?.data?.code ?? null,
    message: error?.message ?? null,
    retryAfter: response.headers.get("retry-after"),
  };
}
const statusAtProxy = async (credential: string) => (await atProxy(credential)).status;

async function healthOf(part: "gateway" | "proxy") {
  const response = await fetch(parts.urls[part] + (part === "gateway" ? "/health" : "/healthz"));
  const { status, services } = (await response.json()) as {
    status: string;
    services?: Record<string, { status: string; essential: boolean }>;
  };
  const broken = Object.entries(services ?? {}).flatMap(([name, service]) =>
    service.status === "unhealthy" ? [name] : [],
  );
  const essential = Object.entries(services ?? {}).flatMap(([name, service]) => (service.essential ? [name] : []));
  return { http: response.status, status, broken, essential };
}

/** Pids of the bridges of replicas. */
async function bridges(): Promise<number[]> {
  const pids = await processesWith(join(parts.dataDir, "replicas"));
  const kinds = await Promise.all(
    pids.map(async (pid) => {
      const args = (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).split("\0");
      const isBridge = !args[0]?.endsWith("bwrap") && args.some((arg) => arg.includes("packages/bridge/"));
      return isBridge ? [pid] : [];
    }),
  );
  return kinds.flat().sort((a, b) => a - b);
}

/** What /health of the gateway and /healthz of the proxy say, as in the documented table. */
async function healthOfBoth(): Promise<string[]> {
  const said = async (part: "gateway" | "proxy") => {
    const { http, status } = await healthOf(part);
    return `${http} ${status}`;
  };
  return Promise.all([said("gateway").catch(() => "–"), said("proxy").catch(() => "–")]);
}

test.each(SUBGRAPHS)(
  "%s refuses a caller header that is missing, forged, expired, for another part, or signed for a query",
  async (part) => {
    const secretKey = (await readFile(join(parts.dataDir, "secret-key"), "utf8")).trim();
    const signer = createTokenSigner({ secretKey });
    const caller = createUserCaller("somebody", "ADMIN");
    const refused = { status: 401, code: "UNAUTHENTICATED" };
    async function ask(header: string | null, query = READS[part]) {
      const response = await fetch(`${parts.urls[part]}/graphql`, {
        method: "POST",
        headers: { "content-type": "application/json", ...(header !== null && { [CALLER_HEADER]: header }) },
        body: JSON.stringify({ query }),
      });
      const { errors } = (await response.json()) as { errors?: { extensions: { code: string } }[] };
      return { status: response.status, code: errors?.[0]?.extensions.code ?? null };
    }
    const opens = async (header: string | null) => {
      const headers = header === null ? {} : { [CALLER_HEADER]: header };
      const socket = new WebSocket(`${parts.urls[part].replace("http", "ws")}/graphql`, "graphql-transport-ws", {
        headers,
      });
      const status = await new Promise<number>((resolve) => {
        socket.once("open", () => resolve(101));
        socket.once("unexpected-response", (_request, response) => resolve(response.statusCode ?? 0));
        socket.once("error", () => undefined); // said by the status
      });
      socket.terminate();
      return status;
    };

    const good = await signer.callerHeader(caller, part);
    expect(await ask(good)).toEqual({ status: 200, code: null });
    expect(await opens(good)).toBe(101);
    // Without the header it is a stranger, whom the operation itself refuses.
    expect(await ask(null)).toEqual({ status: 200, code: "UNAUTHENTICATED" });
    expect(await opens(null)).toBe(401);
    const forger = createTokenSigner({ secretKey: `not ${secretKey}` });
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() - 10 * 60_000 });
    // The other one has a header that is good for a while.
    const another = createTokenSigner({ secretKey });
    const expired = await another.callerHeader(caller, part).finally(() => vi.useRealTimers());
    const others = PARTS.filter((other) => other !== part).map((other) => signer.callerHeader(caller, other));
    const forged = await forger.callerHeader(caller, part);
    for (const header of [forged, ...(await Promise.all(others)), `${good.slice(0, -4)}AAAA`, token, ""]) {
      expect(await ask(header)).toEqual(refused);
      expect(await opens(header)).toBe(401);
    }
    // Signed by the gateway, and not now: its clock must be wrong.
    expect(await ask(expired)).toEqual({ status: 503, code: "UPSTREAM_UNAVAILABLE" });
    expect(await opens(expired)).toBe(503);
    expect(await ask(good, "mutation { __typename }")).toMatchObject({ code: "UNAUTHENTICATED" });
    expect(await ask(await signer.callerHeader(caller, part, { isMutation: true }), "mutation { __typename }")).toEqual(
      {
        status: 200,
        code: null,
      },
    );
  },
);

test("a tool that was registered and deployed is called in every era, and its events are told", async () => {
  for (const era of ["v1", "v2-sessions", "v2-stateless"] as const) {
    const client = await connectMcp(era, deployment.mcpUrl, apiKey.secret);
    expect(await client.callTool("note", { id: `era-${era}` })).toBe(`era-${era}`);
    await client.close();
  }
  // A moment after headers were refused for their times.
  await expect.poll(healthOfBoth).toEqual(["200 healthy", "200 healthy"]);
  expect(load.events.sequences.length).toBeGreaterThan(1);
});

describe("kill -9 of", () => {
  let extra: (() => Promise<void>) | null = null;
  // Of a test that has failed.
  afterEach(async () => void (await Promise.all(PARTS.map(parts.start))));

  /** What is done and seen with each part, as long as it is away and when it is back. */
  const away: Partial<Record<Part, () => Promise<void>>> = {
    async identity() {
      const unchecked = { status: 503, code: "UPSTREAM_UNAVAILABLE", retryAfter: "5" };
      for (const at of [atGateway, atProxy]) {
        expect(await at(UNKNOWN_KEY)).toMatchObject({
          ...unchecked,
          message: expect.stringMatching(/^This credential cannot be checked now/),
        });
        // It was verified before.
        expect(await at(apiKey.secret)).toMatchObject({ status: 200 });
        expect(await at("rubbish")).toMatchObject({ status: 401 });
      }
    },
    async tools() {
      const deploy = `mutation { deployTool(input: { toolId: "${toolId}" }) { id } }`;
      expect(await atGateway(token, deploy)).toMatchObject({ code: "UPSTREAM_UNAVAILABLE" });
    },
    async knowledge() {
      const id = await analyse();
      const task = await ended(id);
      expect(task).toMatchObject({
        status: "SUCCEEDED",
        result: { summary: expect.stringMatching(/did not answer: documents/) },
      });
    },
    async deployments() {
      expect(await atGateway(token, `mutation { deleteTool(id: "${toolId}") { id } }`)).toMatchObject({
        code: "UPSTREAM_UNAVAILABLE",
      });
    },
    async gateway() {
      expect(await atProxy(UNKNOWN_KEY)).toMatchObject({ status: 503, code: "UPSTREAM_UNAVAILABLE", retryAfter: "5" });
      for (const known of [apiKey.secret, token]) expect(await atProxy(known)).toMatchObject({ status: 200 });
    },
  };
  /** What is acknowledged just before the kill. @returns what is expected of it afterwards */
  const before: Partial<Record<Part, () => Promise<() => Promise<void>>>> = {
    async identity() {
      for (const at of [atGateway, atProxy]) expect(await at(apiKey.secret)).toMatchObject({ status: 200 });
      return async () => undefined;
    },
    async analysis() {
      const ids = await Promise.all(Array.from({ length: 4 }, analyse));
      // One that ran is taken up again when its lease ends, which is longer than most of this file.
      extra = async () => {
        for (const id of ids)
          expect(await ended(id)).toMatchObject({ status: "SUCCEEDED", result: { summary: expect.any(String) } });
      };
      return async () => undefined;
    },
    async deployments() {
      const [first] = await bridges();
      await admin.query("mutation ($id: ID!) { scaleDeployment(id: $id, replicas: 2) { id } }", { id: deployment.id });
      return async () => {
        const replicas = await eventually("two replicas", async () => {
          const now = await deploymentNow();
          return now.replicas.filter(({ phase }) => phase === "READY").length === 2 ? now.replicas : null;
        });
        expect(replicas.map(({ restarts }) => restarts)).toEqual([0, 0]);
        const pids = await bridges();
        expect(pids).toHaveLength(2);
        expect(pids).toContain(first);
      };
    },
    async proxy() {
      const taken = load.calls.acknowledged().length;
      const counted = () => notes().then((count) => count >= taken);
      await eventually("the usage of all calls, some of which waited for deployments and the gateway", counted);
      const client = await connectMcp("v2-sessions", deployment.mcpUrl, token);
      return async () => {
        expect(await client.callTool("note", { id: "same session" })).toBe("same session");
        await client.close();
      };
    },
  };

  test.each(PARTS)("%s: the rest goes on, nothing is lost or done twice, and it comes back by itself", async (part) => {
    const after = await before[part]?.();
    const since = { calls: load.calls.all.length, breaks: load.changes.breaks + load.events.breaks };
    const writesBefore = WRITERS.map((writer) => load.writes[writer].all.length);
    const replicas = await bridges();
    await parts.kill(part);
    const [gatewayHealth = "", proxyHealth = "", answered = ""] = await documentedLoss(part);
    await expect.poll(healthOfBoth).toEqual([gatewayHealth, proxyHealth]);
    if (part !== "gateway") {
      expect(await healthOf("gateway")).toMatchObject({ broken: [part], essential: ["identity"] });
      for (const subgraph of SUBGRAPHS) {
        const code = part === subgraph ? "UPSTREAM_UNAVAILABLE" : null;
        expect(await atGateway(token, READS[subgraph])).toMatchObject({ status: 200, code });
      }
    }
    await away[part]?.();
    if (part !== "proxy") await untilMore(load.calls);
    for (const writer of WRITERS) if (part !== writer && part !== "gateway") await untilMore(load.writes[writer]);
    expect(await bridges()).toEqual(expect.arrayContaining(replicas));

    await parts.start(part);
    await expect.poll(healthOfBoth).toEqual(["200 healthy", "200 healthy"]);
    for (const attempts of [load.calls, ...WRITERS.map((writer) => load.writes[writer])]) await untilMore(attempts);
    await after?.();
    const told = load.changes.sequences.length;
    await eventually("a change that is told", () => load.changes.sequences.length > told);

    // Nobody but those who asked the part itself has seen anything of it.
    expect(refusalsOf(load.calls.all.slice(since.calls))).toEqual(part === "proxy" ? ["CONNECTION"] : []);
    for (const [n, writer] of WRITERS.entries()) {
      const refused = part === "gateway" ? ["CONNECTION"] : part === writer ? ["UPSTREAM_UNAVAILABLE"] : [];
      expect(refusalsOf(load.writes[writer].all.slice(writesBefore[n]))).toEqual(refused);
      for (const code of refused) expect(answered).toMatch(code === "CONNECTION" ? /connections/i : `\`${code}\``);
    }
    const breaks = load.changes.breaks + load.events.breaks - since.breaks;
    if (part === "gateway") expect(breaks).toBeGreaterThan(0);
    else expect(breaks).toBe(0);
  });

  test("all of them in turn: tasks that ran have gone on", async () => {
    await extra?.();
  });
});

async function analyse(): Promise<string> {
  const { analyzeFeasibility } = await admin.query<{ analyzeFeasibility: { id: string } }>(
    "mutation ($id: ID!) { analyzeFeasibility(input: { toolId: $id }) { id } }",
    { id: toolId },
  );
  return analyzeFeasibility.id;
}

interface Task {
  status: string;
  result: { summary?: string } | null;
}
function ended(id: string): Promise<Task> {
  return eventually("the end of a task", async () => {
    const { task } = await admin.query<{ task: Task }>(
      "query ($id: ID!) { task(id: $id) { status result { ... on FeasibilityReport { summary } } } }",
      { id },
    );
    return ["QUEUED", "RUNNING"].includes(task.status) ? null : task;
  });
}

/** How many calls of the tool deployments has counted. */
async function notes(): Promise<number> {
  const { deployment: found } = await admin.query<{
    deployment: { usage: { byMcpTool: { mcpTool: string; calls: number }[] } };
  }>("query ($id: ID!) { deployment(id: $id) { usage(window: HOUR) { byMcpTool { mcpTool calls } } } }", {
    id: deployment.id,
  });
  return found.usage.byMcpTool.find(({ mcpTool }) => mcpTool === "note")?.calls ?? 0;
}

describe("a revoked credential is refused by gateway and proxy, and its streams end", () => {
  test.each(["all parts run", "identity was killed and has just come back", "identity is killed right after"])(
    "%s",
    async (when) => {
      const key = await createKey(when);
      const session = await logIn(parts.urls.gateway, "admin", password);
      const streams = await Promise.all([key.secret, session].map(openStreams));
      if (when.includes("just come back")) {
        await parts.kill("identity");
        await parts.start("identity");
      }
      await admin.query("mutation ($id: ID!) { revokeApiKey(id: $id) { id } }", { id: key.id });
      await graphqlClient(parts.urls.gateway, session).query("mutation { logout }");
      let since = Date.now();
      if (when.includes("right after")) {
        await parts.kill("identity");
        await parts.start("identity");
        since = Date.now();
      }
      await Promise.all(streams.flat());
      for (const credential of [key.secret, session])
        for (const at of [atGateway, atProxy])
          expect(await at(credential)).toMatchObject({ status: 401, code: "UNAUTHENTICATED" });
      expect(Date.now() - since).toBeLessThan(REVOKED_WITHIN_MS);
      expect(await atProxy(token)).toMatchObject({ status: 200 });
    },
  );
});

test("a gateway and a proxy that are started while identity is away judge no access token until it is back", async () => {
  const session = await logIn(parts.urls.gateway, "admin", password);
  await graphqlClient(parts.urls.gateway, session).query("mutation { logout }");
  for (const part of ["identity", "gateway", "proxy"] as const) await parts.kill(part);
  for (const part of ["gateway", "proxy"] as const) await parts.start(part);
  const unchecked = { status: 503, code: "UPSTREAM_UNAVAILABLE", retryAfter: "5" };
  for (const credential of [session, token]) {
    for (const at of [atGateway, atProxy]) expect(await at(credential)).toMatchObject(unchecked);
    const events = await fetch(`${parts.urls.gateway}/events`, { headers: { authorization: `Bearer ${credential}` } });
    expect(events.status).toBe(503);
  }
  await parts.start("identity");
  for (const at of [atGateway, atProxy]) {
    await eventually("the revocations", async () => (await at(token)).status === 200);
    expect(await at(session)).toMatchObject({ status: 401, code: "UNAUTHENTICATED" });
  }
});

/** Opens a stream at the gateway and one at the proxy. @returns their ends */
async function openStreams(credential: string): Promise<Promise<unknown>[]> {
  const { promise: opened, resolve } = Promise.withResolvers<void>();
  const { promise: closed, resolve: close } = Promise.withResolvers<void>();
  const client = createClient({
    url: `${parts.urls.gateway.replace("http", "ws")}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${credential}` },
    retryAttempts: 0,
    on: { closed: () => close() },
  });
  const query = 'subscription { deploymentEvents(after: "0") { sequence } }';
  client.subscribe({ query }, { next: () => resolve(), error: () => undefined, complete: () => undefined });
  await opened;
  const session = (await callMcp(credential)).headers.get("mcp-session-id") ?? "";
  const stream = await callMcp(credential, { method: "GET", session });
  expect(stream.status).toBe(200);
  return [closed, stream.text()];
}

test("what was acknowledged is there, once; what was not is there at most once; subscriptions have no gap", async () => {
  await load.stop();
  for (const writer of WRITERS) {
    const { all, acknowledged } = load.writes[writer];
    const found = (await namesOf(admin, writer)).filter((name) => name.startsWith(`${writer}-`));
    expect(new Set(found).size).toBe(found.length);
    expect(missingFrom(new Set(all.map(({ id }) => id)), found)).toEqual([]);
    expect(missingFrom(new Set(found), acknowledged())).toEqual([]);
  }
  expect([...witnessed.values()].filter((times) => times > 1)).toEqual([]);
  expect(missingFrom(witnessed, load.calls.acknowledged())).toEqual([]);
  expect(await notes()).toBeLessThanOrEqual(witnessed.size);
  for (const [field, { sequences }] of [
    ["toolChanged", load.changes],
    ["toolChanged", load.elsewhere],
    ["deploymentEvents", load.events],
  ] as const) {
    const replayed = keepFollowing(parts.urls.gateway, token, field);
    await eventually("all of the log", () => replayed.sequences.includes(sequences.at(-1) ?? ""));
    await replayed.stop();
    expect(sequences).toEqual(replayed.sequences.slice(0, sequences.length));
  }
  expect(load.elsewhere.breaks).toBe(0);
});

test("a stop that was acknowledged holds though deployments was killed, and all parts end when they are asked to", async () => {
  await admin.query("mutation ($id: ID!) { stopDeployment(id: $id) { id } }", { id: deployment.id });
  await parts.kill("deployments");
  await parts.start("deployments");
  await eventually("STOPPED", async () => (await deploymentNow()).status === "STOPPED");
  expect(await processesWith(join(parts.dataDir, "replicas"))).toEqual([]);
  expect(await parts.stop()).toEqual(Object.fromEntries(PARTS.map((part) => [part, 0])));
  expect(await processesWith(parts.dataDir)).toEqual([]);
});
