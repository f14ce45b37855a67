import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
// oxlint-disable-next-line no-restricted-imports -- the pace of the load, for which nothing waits
import { setTimeout as pause } from "node:timers/promises";
import { PROXY_PERMISSIONS, createTokenSigner } from "@toolyard/service-kit";
import { compileCache, connectMcp, eventually, freePort, graphqlClient, logIn, processesWith } from "@toolyard/testing";
import { isInstalled, startReverseProxy, type RunningReverseProxy } from "@toolyard/testing/reverse-proxy.ts";
import { createClient } from "graphql-ws";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { keepDoing } from "./fixtures/keep-doing.ts";

/*
 * Two gateways, two proxies and two of a subgraph, behind nginx as docs/operating.md configures it: each is ended by SIGTERM and started
 * again, one after the other, under load.
 */

const root = join(import.meta.dirname, "../..");
const missing =
  ["TEST_MYSQL_URL", "TEST_MONGODB_URL", "TEST_REDIS_URL"].find((name) => !process.env[name]) ??
  (isInstalled("nginx") ? null : "nginx");
const SECRET_KEY = "a secret key for tests, of enough characters";
const ADMIN_PASSWORD = "correct horse battery";
const PACE_MS = 20;
/** The subgraphs of which there are two: one of them for a short run, all that may have several for a long one. */
const BALANCED = process.env["OUTAGE_SECONDS"] ? ["identity", "tools", "knowledge", "analysis"] : ["tools"];
const SINGLE = ["identity", "tools", "knowledge", "analysis", "deployments"].filter((name) => !BALANCED.includes(name));

interface Part {
  name: string;
  url: string;
  readyPath: string;
  /** Returns when it is ready. */
  start(): Promise<void>;
  /** SIGTERM. @returns the exit code, and whether it said that it is not ready before it ended */
  stop(): Promise<{ code: number | null; wasUnready: boolean }>;
}

let dataDir: string;
let front: string;
let nginx: RunningReverseProxy;
let parts: Part[] = [];
let token: string;
let mcpUrl: string;

function partOf(name: string, entry: string, port: number, env: Record<string, string>): Part {
  let child: ChildProcess | null = null;
  let printed = "";
  const isProxy = entry.includes("packages/proxy");
  const url = `http://127.0.0.1:${port}`;
  const readyPath = isProxy ? "/healthz" : "/health/ready";
  const statusOf = () =>
    fetch(url + readyPath, { headers: { connection: "close" } }).then(
      ({ status }) => status,
      () => null,
    );
  return {
    name,
    url,
    readyPath,
    async start() {
      const own = spawn(process.execPath, [join(root, entry)], {
        cwd: root,
        env: {
          PATH: process.env.PATH,
          HOME: process.env.HOME,
          SECRET_KEY,
          DATA_DIR: dataDir,
          LOG_LEVEL: "warn",
          NODE_COMPILE_CACHE: compileCache,
          // Long enough to be seen on a busy machine.
          DRAIN_SECONDS: "3",
          [isProxy ? "PROXY_PORT" : "PORT"]: String(port),
          ...env,
        },
        stdio: ["ignore", "pipe", "pipe"],
      });
      for (const output of [own.stdout, own.stderr])
        output.on("data", (chunk: Buffer) => (printed += chunk.toString()));
      child = own;
      await eventually(`${name} is ready`, async () => {
        if (own.exitCode !== null) throw new Error(`${name} has ended:\n${printed}`);
        return (await statusOf()) === 200;
      });
    },
    async stop() {
      const own = child;
      if (!own || own.exitCode !== null || own.signalCode !== null) return { code: null, wasUnready: false };
      const ended = once(own, "close");
      own.kill("SIGTERM");
      let wasUnready = false;
      await eventually(`${name} is not ready any more`, async () => {
        const status = await statusOf();
        wasUnready ||= status === 503;
        return status !== 200;
      });
      await ended;
      return { code: own.exitCode, wasUnready };
    },
  };
}

/** The configuration of docs/operating.md on other ports; a block of `tools` stands for each subgraph of which there are several. */
async function documentedConfiguration(ports: Record<string, number>, shared: Record<string, number>): Promise<string> {
  const text = await readFile(join(root, "docs/operating.md"), "utf8");
  const config = /### Several of each[^]*?```nginx\n([^]*?)```/.exec(text)?.[1] ?? "";
  const blocks = config.split(/\n(?=upstream |server |proxy_http_version|map )/);
  return blocks
    .flatMap((block) =>
      block.includes("tools") ? BALANCED.map((name) => [name, block] as const) : [["", block] as const],
    )
    .map(([name, block]) =>
      block
        .replaceAll("tools", name)
        .replaceAll(":5002", `:${shared[name]}`)
        .replaceAll(":8080", `:${shared["front"]}`)
        .replaceAll(/:4002|:4012/g, (port) => `:${ports[`${name}-${port === ":4002" ? 1 : 2}`]}`)
        .replaceAll(/:4000|:4010/g, (port) => `:${ports[`gateway-${port === ":4000" ? 1 : 2}`]}`)
        .replaceAll(/:4100|:4110/g, (port) => `:${ports[`proxy-${port === ":4100" ? 1 : 2}`]}`),
    )
    .join("\n");
}

/** Follows the changes of tools, and goes on after the last one where the stream ends. */
function keepFollowing() {
  const sequences: string[] = [];
  let breaks = 0;
  let isOver = false;
  let client: ReturnType<typeof createClient> | null = null;
  const running = (async () => {
    while (!isOver) {
      client = createClient({
        url: `${front.replace("http", "ws")}/graphql`,
        webSocketImpl: WebSocket,
        connectionParams: { authorization: `Bearer ${token}` },
        retryAttempts: 0,
      });
      try {
        const results = client.iterate<{ toolChanged: { sequence: string } }>({
          query: "subscription ($after: String) { toolChanged(after: $after) { sequence } }",
          variables: { after: sequences.at(-1) ?? "0" },
        });
        for await (const { data, errors } of results) {
          if (errors) throw new Error(JSON.stringify(errors));
          sequences.push(data?.toolChanged.sequence ?? "");
        }
      } catch {
        breaks += 1;
      }
      await client.dispose();
      if (!isOver) await pause(PACE_MS);
    }
  })();
  return {
    sequences,
    breaks: () => breaks,
    async stop() {
      isOver = true;
      await client?.dispose();
      await running;
    },
  };
}

describe.skipIf(missing !== null)(
  `a rolling restart behind nginx, on MySQL, MongoDB and Redis${missing ? ` (skipped: there is no ${missing})` : ""}`,
  () => {
    beforeAll(async () => {
      dataDir = await mkdtemp(join(tmpdir(), "toolyard-rolling-"));
      const { serverDataOf } = await import("@toolyard/testing/server-data.ts");
      const { env: servers } = await serverDataOf(dataDir);
      const names = [...BALANCED, "gateway", "proxy"].flatMap((name) => [`${name}-1`, `${name}-2`]).concat(SINGLE);
      const ports = Object.fromEntries(await Promise.all(names.map(async (name) => [name, await freePort()] as const)));
      const shared = Object.fromEntries(
        await Promise.all([...BALANCED, "front"].map(async (name) => [name, await freePort()] as const)),
      );
      const portOf = (name: string) => ports[name] ?? expect.fail();
      front = `http://127.0.0.1:${shared["front"]}`;
      const configuration = await documentedConfiguration(ports, shared);
      nginx = await startReverseProxy({
        kind: "nginx",
        hostName: "localhost",
        port: shared["front"] ?? 0,
        configure: () => configuration,
      });
      const inner = { ...servers, GATEWAY_URL: front, PROXY_URL: front, ADMIN_PASSWORD };
      const subgraphUrls = [...BALANCED, ...SINGLE].map(
        (name) => `${name}=http://127.0.0.1:${shared[name] ?? portOf(name)}/graphql`,
      );
      const signer = createTokenSigner({ secretKey: SECRET_KEY });
      const PROXY_CREDENTIAL = await signer.serviceToken("proxy", PROXY_PERMISSIONS, 3_600);
      parts = [
        ...[...BALANCED.flatMap((name) => [`${name}-1`, `${name}-2`]), ...SINGLE].map((name) =>
          partOf(name, `subgraphs/${name.replace(/-\d$/, "")}/main.ts`, portOf(name), inner),
        ),
        ...[1, 2].map((n) =>
          partOf(`gateway-${n}`, "gateway/main.ts", portOf(`gateway-${n}`), {
            ...servers,
            SUBGRAPH_URLS: subgraphUrls.join(","),
            PROXY_PORT: String(portOf(`proxy-${n}`)),
          }),
        ),
        ...[1, 2].map((n) =>
          partOf(`proxy-${n}`, "packages/proxy/main.ts", portOf(`proxy-${n}`), {
            GATEWAY_URL: front,
            PROXY_CREDENTIAL,
            DATA_DIR: join(dataDir, `proxy-${n}`),
          }),
        ),
      ];
      await Promise.all(parts.filter(({ name }) => !/^(gateway|proxy)/.test(name)).map((part) => part.start()));
      await Promise.all(parts.filter(({ name }) => name.startsWith("gateway")).map((part) => part.start()));
      await Promise.all(parts.filter(({ name }) => name.startsWith("proxy")).map((part) => part.start()));
      token = await logIn(front, "admin", ADMIN_PASSWORD);
      const admin = graphqlClient(front, token);
      const { createTool } = await admin.query<{ createTool: { id: string } }>(
        "mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }",
        {
          input: {
            name: "Witness",
            description: "rolling",
            launch: { stdio: { command: process.execPath, args: [join(import.meta.dirname, "fixtures/greeter.mjs")] } },
          },
        },
      );
      const { deployTool } = await admin.query<{ deployTool: { id: string; mcpUrl: string } }>(
        "mutation ($input: DeployToolInput!) { deployTool(input: $input) { id mcpUrl } }",
        { input: { toolId: createTool.id } },
      );
      ({ mcpUrl } = deployTool);
      await eventually("HEALTHY", async () => {
        const { deployment } = await admin.query<{ deployment: { health: string } }>(
          "query ($id: ID!) { deployment(id: $id) { health } }",
          { id: deployTool.id },
        );
        return deployment.health === "HEALTHY";
      });
    });
    afterAll(async () => {
      for (const part of parts.toReversed()) await part.stop().catch(() => undefined);
      // Replicas outlive the part that has started them.
      for (const pid of await processesWith(join(dataDir, "replicas"))) {
        try {
          process.kill(pid, "SIGKILL");
        } catch {
          // It ended with another one.
        }
      }
      await nginx?.[Symbol.asyncDispose]();
      const { dropServerData } = await import("@toolyard/testing/server-data.ts");
      await dropServerData(dataDir);
      await rm(dataDir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    });

    test("fails no query, no mutation with its key and no call of a tool; subscriptions go on without a gap", async () => {
      const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
      const client = graphqlClient(front, token);
      const session = await connectMcp("v1", mcpUrl, token);
      const load = {
        queries: keepDoing(async () => {
          const { me, tools } = await client.query<{ me: { username: string }; tools: { totalCount: number } }>(
            "{ me { username } tools(first: 1) { totalCount } }",
          );
          if (me.username !== "admin" || tools.totalCount < 1) throw new Error(JSON.stringify({ me, tools }));
        }),
        mutations: keepDoing(async (n) => {
          const response = await fetch(`${front}/api/v1/mcps`, {
            method: "POST",
            headers: { ...headers, "idempotency-key": `rolling-${n}` },
            body: JSON.stringify({
              name: `Rolling ${n}`,
              description: "one of many",
              launch: { remote: { url: "https://example.com/mcp" } },
            }),
          });
          if (response.status !== 201) throw new Error(`${response.status} ${await response.text()}`);
        }),
        calls: keepDoing(async (n) => {
          const answer = await session.callTool("greet", { who: `caller ${n}` });
          if (!answer.includes(`caller ${n}`)) throw new Error(answer);
        }),
      };
      const followed = keepFollowing();
      const each = Object.values(load);
      await eventually("load", () => each.every(({ done }) => done() > 10));
      for (const part of parts) {
        // Of which there is one. Deployments is restarted all the same: this load asks its replicas, not its graph.
        if (SINGLE.includes(part.name) && part.name !== "deployments") continue;
        expect({ name: part.name, ...(await part.stop()) }).toEqual({ name: part.name, code: 0, wasUnready: true });
        await part.start();
        const before = each.map(({ done }) => done());
        await eventually("load", () => each.every(({ done }, n) => done() > (before[n] ?? 0) + 5));
      }
      const made = load.mutations.done();
      await Promise.all(each.map(({ stop }) => stop()));
      expect(Object.fromEntries(Object.entries(load).map(([what, { failures }]) => [what, failures]))).toEqual({
        queries: [],
        mutations: [],
        calls: [],
      });
      const { tools } = await client.query<{ tools: { totalCount: number } }>("{ tools(first: 1) { totalCount } }");
      expect(tools.totalCount).toBe(load.mutations.done() + 1);
      expect(load.mutations.done()).toBeGreaterThanOrEqual(made);
      await eventually("each change, told", () => followed.sequences.length >= tools.totalCount);
      await followed.stop();
      expect(followed.sequences.map(Number)).toEqual(followed.sequences.map((_, n) => n + 1));
      expect(followed.breaks()).toBeGreaterThan(0);
      await session.close();
    });
  },
);
