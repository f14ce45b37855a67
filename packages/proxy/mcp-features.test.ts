import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, readFile, appendFile, rm, writeFile } from "node:fs/promises";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client as ClientV2, StreamableHTTPClientTransport as TransportV2 } from "@modelcontextprotocol/client";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as TransportV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import * as v1 from "@modelcontextprotocol/sdk/types.js";
import { type RunningBridge, startBridge } from "@toolyard/bridge/bridge.fixture.ts";
import { eventually, freePort, type McpEra } from "@toolyard/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startControlPlane, type FakeControlPlane } from "./fixtures/control-plane.ts";
import { routeTo, startProxy, type RunningProxy } from "./fixtures/proxy.ts";

/** Each feature of MCP × each SDK's client × each kind of server, through the proxy; on stdio through a bridge, too. */

const FIXTURE = join(import.meta.dirname, "fixtures", "feature-server.mjs");
const SERVERS = ["v1 stdio", "v2 stdio", "v1 http", "v2 http", "v1 sse"] as const;
/** Those that are elsewhere; the others on HTTP are launched here. */
const REMOTE: ReadonlySet<string> = new Set(["v1 http", "v1 sse"]);
const ERAS: readonly McpEra[] = ["v1", "v2-sessions", "v2-stateless"];

/** The part of an SDK client that is used here. */
interface FeatureClient {
  call(
    name: string,
    until?: string,
    options?: { onProgress?: (step: number) => void; signal?: AbortSignal },
  ): Promise<string>;
  /** Has notifications of a method told from now on. */
  on(method: "message" | "tools" | "updated", told: (about: string) => void): void;
  /** Listens for changes: by the session's stream, or by `subscriptions/listen`. */
  listen(): Promise<() => Promise<void>>;
  setLevel(): Promise<unknown>;
  complete(): Promise<string[]>;
  ping(): Promise<unknown>;
  rootsChanged(): Promise<void>;
  discover(): Promise<unknown>;
  close(): Promise<void>;
}

const info = { name: "features", version: "1" };
const capabilities = { sampling: {}, elicitation: {}, roots: { listChanged: true } };
const answers = {
  elicit: { action: "accept" as const, content: { name: "Ada" } },
  sample: { model: "m", role: "assistant" as const, content: { type: "text" as const, text: "sampled" } },
  roots: { roots: [{ uri: "file:///here", name: "here" }] },
};
const WATCHED = "test://watched";
const TRACE = {
  traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
  tracestate: "rojo=00f067aa0ba902b7",
  baggage: "userId=alice",
};
const textOf = (result: unknown): string => (result as { content: { text: string }[] }).content[0]?.text ?? "";
const reconnectionOptions = {
  initialReconnectionDelay: 20,
  maxReconnectionDelay: 100,
  reconnectionDelayGrowFactor: 1,
  maxRetries: 50,
};

async function connectV1(url: string, token: string): Promise<FeatureClient> {
  const client = new ClientV1(info, { capabilities });
  client.setRequestHandler(v1.ElicitRequestSchema, () => answers.elicit);
  client.setRequestHandler(v1.CreateMessageRequestSchema, () => answers.sample);
  client.setRequestHandler(v1.ListRootsRequestSchema, () => answers.roots);
  const requestInit = { headers: { authorization: `Bearer ${token}` } };
  const transport = new TransportV1(new URL(url), { requestInit, reconnectionOptions });
  // The SDK's own transport; its optional properties are declared without `undefined`.
  await client.connect(transport as Transport);
  return {
    call: async (name, until = "", { onProgress, signal } = {}) =>
      textOf(
        await client.callTool({ name, arguments: { until }, _meta: TRACE }, undefined, {
          ...(onProgress && { onprogress: ({ progress }) => onProgress(progress) }),
          ...(signal && { signal }),
        }),
      ),
    on(method, told) {
      if (method === "message")
        client.setNotificationHandler(v1.LoggingMessageNotificationSchema, ({ params }) => told(String(params.data)));
      else if (method === "tools")
        client.setNotificationHandler(v1.ToolListChangedNotificationSchema, () => told("tools"));
      else client.setNotificationHandler(v1.ResourceUpdatedNotificationSchema, ({ params }) => told(params.uri));
    },
    async listen() {
      await client.subscribeResource({ uri: WATCHED });
      return async () => void (await client.unsubscribeResource({ uri: WATCHED }));
    },
    setLevel: () => client.setLoggingLevel("warning"),
    complete: async () =>
      (
        await client.complete({
          ref: { type: "ref/prompt", name: "greet" },
          argument: { name: "word", value: "pari" },
        })
      ).completion.values,
    ping: () => client.ping(),
    rootsChanged: () => client.sendRootsListChanged(),
    discover: () => Promise.reject(new Error("not of this era")),
    close: () => client.close(),
  };
}

async function connectV2(url: string, token: string, isStateless: boolean): Promise<FeatureClient> {
  const client = new ClientV2(info, {
    capabilities,
    ...(isStateless && { versionNegotiation: { mode: { pin: "2026-07-28" } } }),
  });
  client.setRequestHandler("elicitation/create", () => answers.elicit);
  client.setRequestHandler("sampling/createMessage", () => answers.sample);
  client.setRequestHandler("roots/list", () => answers.roots);
  const requestInit = { headers: { authorization: `Bearer ${token}` } };
  await client.connect(new TransportV2(new URL(url), { requestInit, reconnectionOptions }));
  let level: Record<string, string> = {};
  return {
    call: async (name, until = "", { onProgress, signal } = {}) =>
      textOf(
        await client.callTool(
          { name, arguments: { until }, _meta: { ...TRACE, ...level } },
          {
            ...(onProgress && { onprogress: ({ progress }: { progress: number }) => onProgress(progress) }),
            ...(signal && { signal }),
          },
        ),
      ),
    on(method, told) {
      if (method === "message")
        client.setNotificationHandler("notifications/message", ({ params }) => told(String(params.data)));
      else if (method === "tools")
        client.setNotificationHandler("notifications/tools/list_changed", () => told("tools"));
      else client.setNotificationHandler("notifications/resources/updated", ({ params }) => told(params.uri));
    },
    async listen() {
      if (isStateless) {
        const subscription = await client.listen({ toolsListChanged: true, resourceSubscriptions: [WATCHED] });
        return () => subscription.close();
      }
      await client.subscribeResource({ uri: WATCHED });
      return async () => void (await client.unsubscribeResource({ uri: WATCHED }));
    },
    async setLevel() {
      if (isStateless) level = { "io.modelcontextprotocol/logLevel": "warning" };
      else await client.setLoggingLevel("warning");
    },
    complete: async () =>
      (
        await client.complete({
          ref: { type: "ref/prompt", name: "greet" },
          argument: { name: "word", value: "pari" },
        })
      ).completion.values,
    ping: () => client.ping(),
    rootsChanged: () => client.sendRootsListChanged(),
    discover: () => client.discover(),
    close: () => client.close(),
  };
}

/** Passes TCP on, and cuts its connections. */
async function startCutter(port: number): Promise<{ port: number; cut(): void } & AsyncDisposable> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    const onward = connect(port, "127.0.0.1");
    for (const [from, to] of [
      [socket, onward],
      [onward, socket],
    ] as const) {
      sockets.add(from);
      from
        .on("error", () => undefined)
        .on("close", () => {
          sockets.delete(from);
          to.destroy();
        });
      from.pipe(to);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    // A TCP server's address is never a pipe's string.
    port: (server.address() as AddressInfo).port,
    cut,
    async [Symbol.asyncDispose]() {
      cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

interface Place {
  client: FeatureClient;
  /** Its client's connections to the proxy. */
  cut(): void;
  /** What the server was told. */
  told(): Promise<string>;
  /** Lets calls of `wait` end. */
  tell(words: string): Promise<void>;
}

let count = 0;
const unique = (word: string): string => `${word}-${(count += 1)}.`;

async function changes({ client, cut }: Place, { dropped }: { dropped: boolean }): Promise<void> {
  const seen: string[] = [];
  client.on("tools", (about) => seen.push(about));
  client.on("updated", (about) => seen.push(about));
  const end = await client.listen();
  if (dropped) cut();
  // The session's stream may not be open yet, and what nobody hears may be said again.
  await eventually("both changes", async () => {
    await client.call("change");
    return seen.includes("tools") && seen.includes(WATCHED);
  });
  await end();
}

/** A call's answer is kept for a client whose connection is lost, and a stream of changes goes on (the session era). */
async function answerAfterLoss({ client, cut, tell }: Place): Promise<void> {
  const until = unique("resume");
  const begun = Promise.withResolvers<void>();
  const call = client.call("wait", until, { onProgress: () => begun.resolve() });
  await begun.promise;
  cut();
  await tell(until);
  expect(await call).toBe(`waited for ${until}`);
}

/** Closing the connection is how a client cancels (2026-07-28). */
async function cancelledByLoss({ client, cut, told }: Place): Promise<void> {
  const until = unique("lost");
  const begun = Promise.withResolvers<void>();
  const call = client.call("wait", until, { onProgress: () => begun.resolve() });
  call.catch(() => undefined);
  await begun.promise;
  cut();
  await eventually("the cancellation", async () => (await told()).includes(`cancelled ${until}`));
}

type Feature = (place: Place) => Promise<unknown>;

const IN_BOTH_ERAS: Readonly<Record<string, Feature>> = {
  "trace context in _meta": async ({ client }) => expect(JSON.parse(await client.call("echo"))).toMatchObject(TRACE),
  elicitation: async ({ client }) => expect(await client.call("elicit")).toContain("Ada"),
  sampling: async ({ client }) => expect(await client.call("sample")).toContain("sampled"),
  roots: async ({ client }) => expect(await client.call("roots")).toContain("file:///here"),
  progress: async ({ client }) => {
    const steps: number[] = [];
    await client.call("progress", "", { onProgress: (step) => steps.push(step) });
    expect(steps).toEqual([1, 2]);
  },
  cancellation: async ({ client, told }) => {
    const until = unique("cancel");
    const abort = new AbortController();
    const call = client.call("wait", until, { signal: abort.signal, onProgress: () => abort.abort() });
    await expect(call).rejects.toThrow();
    await eventually("the cancellation", async () => (await told()).includes(`cancelled ${until}`));
  },
  completion: async ({ client }) => expect(await client.complete()).toEqual(["paris"]),
  "changes of tools and resources": (place) => changes(place, { dropped: false }),
  logging: async ({ client }) => {
    const lines: string[] = [];
    client.on("message", (line) => lines.push(line));
    await client.setLevel();
    await client.call("log");
    await eventually("the line", () => lines.length > 0);
    expect(lines).toEqual(["logged"]);
  },
};
const OF_SESSIONS: Readonly<Record<string, Feature>> = {
  ping: async ({ client }) => client.ping(),
  "roots changed": async ({ client, told }) => {
    await client.rootsChanged();
    await eventually("the notification", async () => (await told()).includes("roots changed"));
  },
  "changes after a lost connection": (place) => changes(place, { dropped: true }),
  "a call's answer after a lost connection": answerAfterLoss,
};
const STATELESS: Readonly<Record<string, Feature>> = {
  "server/discover": async ({ client }) => client.discover(),
  "cancellation by a lost connection": cancelledByLoss,
};

let controlPlane: FakeControlPlane;
let running: RunningProxy;
let token: string;
let folder: string;
const processes: ChildProcess[] = [];
const bridges: RunningBridge[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "toolyard-features-"));
  controlPlane = await startControlPlane();
  const targets = await Promise.all(
    SERVERS.map(async (server, index) => {
      const [sdk = "", transport = ""] = server.split(" ");
      const TOLD = join(folder, String(index));
      await writeFile(TOLD, "");
      if (transport === "stdio") {
        const bridge = await startBridge([FIXTURE, sdk, transport], { token: `token-${index}` }, { TOLD });
        bridges.push(bridge);
        return { url: bridge.url.origin, token: `token-${index}` };
      }
      const port = await freePort();
      const env = { PATH: process.env.PATH, PORT: String(port), TOLD };
      processes.push(
        spawn(process.execPath, [FIXTURE, sdk, transport], { env, stdio: ["ignore", "inherit", "inherit"] }),
      );
      const url = `http://127.0.0.1:${port}`;
      await eventually(server, () => fetch(url).then(Boolean, () => false));
      return { url, token: "" };
    }),
  );
  controlPlane.setRoutes(
    targets.map(({ url, token: own }, index) => {
      const server = SERVERS[index] ?? "v1 stdio";
      const remote = REMOTE.has(server);
      const mcpPath = server === "v1 sse" ? "/sse" : "/mcp";
      const route = routeTo(`features${index}`, [url], { mcpPath, paths: remote ? [] : null });
      return { ...route, targets: route.targets.map((one) => ({ ...one, token: own, remote })) };
    }),
  );
  running = await startProxy(controlPlane, { env: { ALLOW_PRIVATE_REMOTES: "true" } });
  token = await controlPlane.accessToken("ada");
});
afterAll(async () => {
  await running[Symbol.asyncDispose]();
  await controlPlane[Symbol.asyncDispose]();
  for (const child of processes) child.kill();
  for (const bridge of bridges) await bridge[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

/** Servers that do not have a feature without Toolyard, either. */
const WITHOUT: Readonly<Record<string, string>> = {
  // Its example of an event store does not find the stream of an event that no request caused.
  "v1 http": "changes after a lost connection",
};

describe.each(ERAS)("the client %s", (era) => {
  const isStateless = era === "v2-stateless";
  // What speaks HTTP itself is not translated: a client of the new revision alone has nothing to say to a server that does not know it.
  const servers = isStateless ? SERVERS.filter((server) => server !== "v1 http") : SERVERS;
  test.each(servers)("has each feature with the server %s", async (server) => {
    const index = SERVERS.indexOf(server);
    await using cutter = await startCutter(running.port);
    const url = `http://127.0.0.1:${cutter.port}/mcp/features${index}/v1/mcp`;
    const client = era === "v1" ? await connectV1(url, token) : await connectV2(url, token, isStateless);
    const told = join(folder, String(index));
    const place: Place = {
      client,
      cut: () => cutter.cut(),
      told: () => readFile(told, "utf8"),
      tell: (words) => appendFile(told, words),
    };
    const failed: Record<string, unknown> = {};
    for (const [feature, use] of Object.entries({ ...IN_BOTH_ERAS, ...(isStateless ? STATELESS : OF_SESSIONS) }))
      if (WITHOUT[server] !== feature) await use(place).catch((error: unknown) => (failed[feature] = error));
    await client.close();
    expect(failed).toEqual({});
  });
});
