import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
// oxlint-disable-next-line no-restricted-imports -- how long a server is away
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";
import { connectMcp, eventually, graphqlClient, logIn, type McpClient } from "@toolyard/testing";
import { describeOnMongodb, ownMongodb, withWayToMongodb } from "@toolyard/testing/mongodb.ts";
import { describeWithOwnMysql, withMysqlServer } from "@toolyard/testing/mysql-server.ts";
import { describeWithOwnRedis, withRedisServer } from "@toolyard/testing/redis.ts";
import { expect, onTestFinished, test } from "vitest";
import { sampleServerEntry } from "../../standalone/sample.ts";
import { keepFollowing, keepTrying, missingFrom, namesOf, untilMore } from "./fixtures/load.ts";
import { PARTS, startParts } from "./fixtures/parts.ts";

/*
 * All parts, each a process of its own, with their data on servers. Each server goes away in turn while every subgraph is written to, read
 * and followed, and comes back. `OUTAGE_SECONDS=60` for a long run.
 */

const OUTAGE_MS = Number(process.env["OUTAGE_SECONDS"] ?? 10) * 1_000;
/** Far beyond what a process takes for requests that come and fail. */
const MAX_GROWTH_MIB = 200;

const WRITES = {
  knowledge: "uploadDocument(input: { title: $id, content: $id }) { id }",
  tools: 'createTool(input: { name: $id, description: "", launch: { stdio: { command: "node" } } }) { id }',
  identity: "createApiKey(input: { name: $id, scopes: [READ] }) { apiKey { id } }",
  analysis: "analyzeFeasibility(input: { description: $id }) { id }",
} as const;
type Writer = keyof typeof WRITES;
const WRITERS = Object.keys(WRITES) as Writer[];

/** What goes on while a server is away, and what /health says of all and of the server. */
const SERVERS = {
  mysql: { goesOn: ["knowledge"], health: [503, "unhealthy", "unhealthy"] },
  mongodb: { goesOn: ["identity", "analysis"], health: [200, "degraded", "unhealthy"] },
  redis: { goesOn: WRITERS, health: [200, "degraded", "degraded"] },
} as const satisfies Record<string, { goesOn: readonly Writer[]; health: readonly [number, string, string] }>;

interface Refusal {
  code: string;
  message: string;
  retryAfterSeconds?: unknown;
}

describeWithOwnMysql("All parts on MySQL", () =>
  describeOnMongodb("MongoDB", () =>
    describeWithOwnRedis("and Redis", () => {
      test(
        "lose nothing that they acknowledged and give no wrong answer while each of them is away, and catch up by themselves",
        { timeout: 300_000 + 6 * OUTAGE_MS },
        () =>
          withMysqlServer((mysql) =>
            withWayToMongodb((mongodb) => withRedisServer((redis) => run(mysql, mongodb, redis))),
          ),
      );
    }),
  ),
);

async function run(
  mysql: Parameters<Parameters<typeof withMysqlServer>[0]>[0],
  mongodb: Parameters<Parameters<typeof withWayToMongodb>[0]>[0],
  redis: Parameters<Parameters<typeof withRedisServer>[0]>[0],
): Promise<void> {
  const database = ownMongodb();
  onTestFinished(() => database.close());
  const parts = await startParts({
    DATABASE_URL: mysql.url,
    MONGODB_URL: mongodb.url(new URL(database.url).pathname.slice(1)),
    REDIS_URL: redis.url,
    RATE_LIMIT_ENABLED: "false",
    REPLICAS_ON_EXIT: "stop",
  });
  try {
    const password = (await readFile(join(parts.dataDir, "admin-password"), "utf8")).trim();
    const token = await logIn(parts.urls.gateway, "admin", password);
    const admin = graphqlClient(parts.urls.gateway, token);
    const launch = { stdio: { command: process.execPath, args: [sampleServerEntry(), "stdio"] } };
    const { createTool: tool } = await admin.query<{ createTool: { id: string } }>(
      "mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }",
      { input: { name: "Steady", description: "", launch } },
    );
    const { deployTool: deployment } = await admin.query<{ deployTool: { id: string; mcpUrl: string } }>(
      "mutation ($input: DeployToolInput!) { deployTool(input: $input) { id mcpUrl } }",
      { input: { toolId: tool.id } },
    );
    const mcps: McpClient[] = [];
    const echo = async (id: string) => {
      if (mcps.length === 0) mcps.push(await connectMcp("v2-stateless", deployment.mcpUrl, token));
      return (await mcps[0]?.callTool("echo", { message: id }))?.includes(id) ? null : "ANSWER";
    };
    await eventually("a call", async () => (await echo("first")) === null);

    const refusals: Refusal[] = [];
    const taskIds: string[] = [];
    const send = async <Data>(query: string, variables: Record<string, unknown>): Promise<Data | string> => {
      const { data, errors } = await admin.send<Data | null>(query, variables);
      const [error] = errors;
      if (data !== null && !error) return data;
      const { code, retryAfterSeconds } = error?.extensions ?? { code: "NONE" };
      refusals.push({ code, message: error?.message ?? "", retryAfterSeconds });
      return code;
    };
    const writes = Object.fromEntries(
      WRITERS.map((writer) => [
        writer,
        keepTrying(writer, async (id) => {
          const made = await send<{ made: { id: string } }>(`mutation ($id: String!) { made: ${WRITES[writer]} }`, {
            id,
          });
          if (typeof made === "string") return made;
          if (writer === "analysis") taskIds.push(made.made.id);
          return null;
        }),
      ]),
    ) as Record<Writer, ReturnType<typeof keepTrying>>; // of all writers
    // Whatever was acknowledged before is in every answer after.
    const reads = keepTrying("read", async () => {
      const known = WRITERS.map((writer) => writes[writer].acknowledged().length);
      const counts =
        "documents { totalCount } tools { totalCount } me { apiKeys(first: 1) { id } } tasks { totalCount }";
      const { data } = await admin.send<Record<"documents" | "tools" | "tasks", { totalCount: number } | null> | null>(
        `{ ${counts} }`,
      );
      const found = [data?.documents, data?.tools, undefined, data?.tasks];
      return found.some((list, index) => list && list.totalCount < (known[index] ?? 0)) ? "WRONG" : null;
    });
    const calls = keepTrying("call", echo);
    const streams = (["toolChanged", "taskUpdated"] as const).map(
      (field) => [field, keepFollowing(parts.urls.gateway, token, field)] as const,
    );
    const healthNow = async () => {
      const response = await fetch(`${parts.urls.gateway}/health`);
      // The test reads these of it.
      const { status, services } = (await response.json()) as {
        status: string;
        services: Record<string, { status: string; detail?: string }>;
      };
      return { code: response.status, status, services };
    };
    const isHealthy = () => eventually("that all is healthy", async () => (await healthNow()).status === "healthy");
    for (const writer of WRITERS) await untilMore(writes[writer]);
    await isHealthy();
    const pids = PARTS.map(parts.pid);
    const memory = await Promise.all(pids.map(residentMib));

    const ways = {
      mysql: { away: () => mysql.kill(), back: () => mysql.start() },
      mongodb: { away: () => mongodb.close(), back: () => mongodb.open() },
      redis: { away: () => redis.stop(), back: () => redis.start() },
    };
    for (const name of Object.keys(SERVERS) as (keyof typeof SERVERS)[]) {
      const { goesOn, health } = SERVERS[name];
      await ways[name].away();
      const over = pause(OUTAGE_MS);
      const said = await eventually(`that ${name} is away, in /health`, async () => {
        const found = await healthNow();
        return found.services[name] !== undefined && found.services[name].status !== "healthy" && found;
      });
      expect([said.code, said.status, said.services[name]?.status], JSON.stringify(said)).toEqual(health);
      for (const writer of goesOn) await untilMore(writes[writer]);
      await untilMore(calls);
      expect(await callByCommand(parts.urls.gateway, token)).toContain("by command");
      await over;
      await ways[name].back();
      for (const writer of WRITERS) await untilMore(writes[writer]);
      await isHealthy();
    }

    await Promise.all([...Object.values(writes), reads, calls].map((attempts) => attempts.stop()));
    expect(PARTS.map(parts.pid)).toEqual(pids);
    const growth = (await Promise.all(pids.map(residentMib))).map((now, index) => now - (memory[index] ?? 0));
    expect(Math.max(...growth)).toBeLessThan(MAX_GROWTH_MIB);

    // What was refused says so, and whether it may be tried again.
    expect(new Set(refusals.map(({ code }) => code))).toEqual(new Set(["UPSTREAM_UNAVAILABLE"]));
    for (const { message, retryAfterSeconds } of refusals)
      expect(message).toMatch(typeof retryAfterSeconds === "number" ? /try again/i : /not known|unavailable/);
    expect(reads.all.filter(({ code }) => code !== null)).toEqual([]);
    expect(calls.all.filter(({ code }) => code !== null)).toEqual([]);

    for (const writer of ["knowledge", "tools", "identity"] as const) {
      const found = (await namesOf(admin, writer)).filter((each) => each.startsWith(`${writer}-`));
      expect(new Set(found).size).toBe(found.length);
      expect(missingFrom(new Set(found), writes[writer].acknowledged())).toEqual([]);
    }
    for (const id of taskIds)
      await eventually("the end of each task", async () => {
        const { task } = await admin.query<{ task: { status: string; result: unknown } }>(
          "query ($id: ID!) { task(id: $id) { status result { __typename } } }",
          { id },
        );
        return task.status === "SUCCEEDED" && task.result !== null;
      });
    await eventually("the usage of all calls", async () => {
      const { deployment: found } = await admin.query<{
        deployment: { usage: { byMcpTool: { mcpTool: string; calls: number }[] } };
      }>("query ($id: ID!) { deployment(id: $id) { usage(window: HOUR) { byMcpTool { mcpTool calls } } } }", {
        id: deployment.id,
      });
      const counted = found.usage.byMcpTool.find(({ mcpTool }) => mcpTool === "echo")?.calls ?? 0;
      // The first, and those by command.
      return counted === calls.acknowledged().length + 1 + Object.keys(SERVERS).length;
    });
    for (const [field, { sequences, breaks, stop }] of streams) {
      const replayed = keepFollowing(parts.urls.gateway, token, field);
      await eventually("all that was told, and no more", () => replayed.sequences.length === sequences.length);
      expect(sequences).toEqual(replayed.sequences);
      expect(sequences.map(Number)).toEqual(sequences.map((_, index) => index + 1));
      expect(breaks).toBe(0);
      await Promise.all([stop(), replayed.stop()]);
    }
    for (const client of mcps) await client.close();
  } finally {
    const codes = await parts.stop();
    expect(codes).toEqual(Object.fromEntries(PARTS.map((part) => [part, 0])));
    for (const part of PARTS)
      expect(parts.output(part)).not.toMatch(/rejected and nobody waited|mysql:\/\/|mongodb:\/\//);
  }
}

/** What the command line prints of a call. @throws where it fails */
async function callByCommand(url: string, token: string): Promise<string> {
  const command = [
    join(import.meta.dirname, "../../cli/main.ts"),
    "call",
    "steady",
    "echo",
    '{"message":"by command"}',
  ];
  const env = { PATH: process.env.PATH, TOOLYARD_URL: url, TOOLYARD_TOKEN: token };
  const { stdout } = await promisify(execFile)(process.execPath, command, { env });
  return stdout;
}

/** What is in memory of a process. */
async function residentMib(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024;
}
