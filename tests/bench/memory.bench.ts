/**
 * What an installation under mixed load keeps in memory: `node tests/bench/memory.bench.ts [--minutes=20] [--snapshots=FOLDER]`.
 * Queries of varied text by many users, mutations, subscriptions that open and close, MCP calls of both eras, deployments that start
 * and stop. Now and then the load pauses and garbage is collected; at the end there may be no more than after ten minutes (or half of
 * the time, if that is less), when caches have what they hold of such a load. Linux only.
 */
import { rmSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { connectMcp, eventually, graphqlClient, logIn, processesWith, startToolyard } from "@toolyard/testing";
import { createClient } from "graphql-ws";
import { WebSocket } from "ws";
import { sampleServerEntry } from "../../standalone/sample.ts";

const {
  values: { minutes: minutesText, snapshots = "" },
} = parseArgs({ options: { minutes: { type: "string", default: "20" }, snapshots: { type: "string" } } });
const minutes = Number(minutesText);
const USERS = 50;
/** Past this much more than at the mark, it grows. */
const TOLERANCE_HEAP_MB = 8;
const TOLERANCE_RESIDENT = 1.1;

const root = join(import.meta.dirname, "..", "..");
// As `npm start` has them.
const { scripts } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { scripts: { start: string } };
const start = scripts.start.replaceAll(/\$\{\w+:-(\d+)\}/g, "$1");
const flags = start.match(/--\S+/g) ?? [];
const allocator = Object.fromEntries(
  [...start.matchAll(/(MALLOC_\w+)=(\d+)/g)].map(([, name, value]) => [name, value]),
);
const report = join("/tmp", `toolyard-memory-${process.pid}.json`);
// However it ends.
process.on("exit", () => rmSync(report, { force: true }));
await using toolyard = await startToolyard({
  env: {
    SAMPLE: "true",
    RATE_LIMIT_ENABLED: "false",
    NODE_OPTIONS: [...flags, `--import=${join(import.meta.dirname, "memory", "collect.mjs")}`].join(" "),
    MEMORY_REPORT: report,
    ...allocator,
    ...(snapshots !== "" && { MEMORY_SNAPSHOTS: snapshots }),
  },
});
const pid = toolyard.process.pid ?? 0;

let token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
const admin = { query: ((...args) => graphqlClient(toolyard.url, token).query(...args)) as Query };
type Query = ReturnType<typeof graphqlClient>["query"];
const keys = await Promise.all(
  Array.from({ length: USERS }, async (_, index) => {
    const { createApiKey } = await admin.query<{ createApiKey: { secret: string } }>(
      "mutation ($input: CreateApiKeyInput!) { createApiKey(input: $input) { secret } }",
      { input: { name: `user ${index}`, scopes: ["READ", "WRITE", "INVOKE"] } },
    );
    return createApiKey.secret;
  }),
);
const keyOf = (turn: number) => keys[turn % USERS] ?? "";

const paused = { is: false, done: Promise.withResolvers<void>() };
let over = false;
let turns = 0;
const failures = new Map<string, number>();

/** One after the other until the end; failures are counted and told. */
async function keepOn(what: string, work: (turn: number) => Promise<unknown>): Promise<void> {
  for (let turn = 0; !over; turn += 1) {
    if (paused.is) await paused.done.promise;
    try {
      await work(turn);
    } catch (error) {
      const key = `${what}: ${error instanceof Error ? error.message.slice(0, 200) : String(error)}`;
      failures.set(key, (failures.get(key) ?? 0) + 1);
      await delay(100);
    }
    turns += 1;
  }
}

async function query(turn: number): Promise<void> {
  const fields = ["slug", "name", "description", "createdAt", "updatedAt"].filter((_, bit) => (turn >> bit) % 2 === 0);
  const alias = `a${turn % 5_000}`;
  const text =
    turn % 3 === 0
      ? `query Q${turn % 700} { ${alias}: tools(first: ${1 + (turn % 20)}) { edges { node { id ${fields.join(" ")} deployments { edges { node { name status } } } } } } }`
      : turn % 3 === 1
        ? `query D { ${alias}: deployments(first: 5) { edges { node { id name status tool { slug } } } } me { id username } }`
        : `{ ${alias}: documents(first: 3) { edges { node { id title } } } }`;
  await graphqlClient(toolyard.url, keyOf(turn)).query(text);
}

async function mutate(turn: number): Promise<void> {
  const client = graphqlClient(toolyard.url, keyOf(turn));
  const { createTool } = await client.query<{ createTool: { id: string } }>(
    "mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }",
    {
      input: {
        name: `Soak ${turn}`,
        description: "soak",
        launch: { stdio: { command: process.execPath, args: [sampleServerEntry(), "stdio"] } },
      },
    },
  );
  if (turn % 10 === 0) {
    const { deployTool } = await client.query<{ deployTool: { id: string } }>(
      "mutation ($input: DeployToolInput!) { deployTool(input: $input) { id } }",
      { input: { toolId: createTool.id } },
    );
    await delay(1_000);
    await client.query("mutation ($id: ID!) { stopDeployment(id: $id) { id } }", { id: deployTool.id });
  }
  await client.query("mutation ($id: ID!) { deleteTool(id: $id) { id } }", { id: createTool.id });
}

async function subscribe(turn: number): Promise<void> {
  const client = createClient({
    url: `${toolyard.url.replace("http", "ws")}/graphql`,
    webSocketImpl: WebSocket,
    retryAttempts: 0,
    connectionParams: { authorization: `Bearer ${keyOf(turn)}` },
  });
  const events = client.iterate({ query: `subscription S${turn % 900} { deploymentEvents(after: "0") { sequence } }` });
  await events.next();
  await events.return?.();
  await client.dispose();
}

const { deployments } = await eventually("the sample runs", async () => {
  const found = await admin.query<{ deployments: { edges: { node: { mcpUrl: string; status: string } }[] } }>(
    "{ deployments(first: 1) { edges { node { mcpUrl status } } } }",
  );
  return found.deployments.edges[0]?.node.status === "RUNNING" ? found : null;
});
const mcpUrl = deployments.edges[0]?.node.mcpUrl ?? "";

async function callTool(turn: number): Promise<void> {
  const era = turn % 2 === 0 ? "v2-stateless" : "v2-sessions";
  const client = await connectMcp(era, mcpUrl, keyOf(turn));
  for (let call = 0; call < 20 && !paused.is; call += 1) await client.callTool("echo", { message: `turn ${turn}` });
  await client.close();
}

async function residentMb(of: number): Promise<number> {
  const text = await readFile(`/proc/${of}/status`, "utf8").catch(() => ""); // ended meanwhile
  return Number(/VmRSS:\s+(\d+) kB/.exec(text)?.[1] ?? 0) / 1_024;
}

interface Sample {
  minute: number;
  heapMb: number;
  mainMb: number;
  proxyMb: number;
}

async function sample(minute: number): Promise<Sample> {
  paused.is = true;
  // What was under way ends.
  await delay(3_000);
  const loadedMb = await residentMb(pid);
  await rm(report, { force: true });
  process.kill(pid, "SIGUSR2");
  const { heapUsed, external } = await eventually("what is left", async () =>
    readFile(report, "utf8").then(
      (text) => JSON.parse(text) as { heapUsed: number; external: number },
      () => null,
    ),
  );
  const [proxy = 0] = await processesOf("packages/proxy/start.mjs");
  const found = {
    minute,
    heapMb: (heapUsed + external) / 2 ** 20,
    mainMb: loadedMb,
    proxyMb: await residentMb(proxy),
  };
  process.stdout.write(
    `minute ${String(minute).padStart(2)}: heap after collection ${found.heapMb.toFixed(1)} MB; resident: main ${found.mainMb.toFixed(0)}, proxy ${found.proxyMb.toFixed(0)} MB; ${turns} turns\n`,
  );
  paused.is = false;
  paused.done.resolve();
  paused.done = Promise.withResolvers();
  return found;
}

async function processesOf(entry: string): Promise<number[]> {
  const ours = await processesWith(toolyard.dataDir);
  const lines = await Promise.all(
    ours.map(async (one) => ({ one, line: await readFile(`/proc/${one}/cmdline`, "utf8").catch(() => "") })),
  );
  return lines.filter(({ line }) => line.includes(entry)).map(({ one }) => one);
}

const work = [
  ...Array.from({ length: 6 }, (_, lane) => keepOn("query", (turn) => query(turn * 6 + lane))),
  keepOn("mutation", mutate),
  keepOn("subscription", subscribe),
  ...Array.from({ length: 3 }, (_, lane) => keepOn("MCP", (turn) => callTool(turn * 3 + lane))),
];
const samples: Sample[] = [];
const every = Math.max(1, Math.round(minutes / 12));
for (let minute = every; minute <= minutes; minute += every) {
  await delay(every * 60_000);
  // Access tokens do not last an hour.
  token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  samples.push(await sample(minute));
}
over = true;
await Promise.all(work);
for (const [what, times] of failures) process.stdout.write(`${times} times: ${what}\n`);

const mark = samples.find(({ minute }) => minute >= Math.min(10, minutes / 2));
const end = samples.at(-1);
if (mark && end) {
  const isFlat =
    end.heapMb <= mark.heapMb + TOLERANCE_HEAP_MB &&
    end.mainMb <= mark.mainMb * TOLERANCE_RESIDENT &&
    end.proxyMb <= mark.proxyMb * TOLERANCE_RESIDENT;
  process.stdout.write(
    `memory: minute ${end.minute} over minute ${mark.minute}: heap ${(end.heapMb - mark.heapMb).toFixed(1)} MB (reach ≤ ${TOLERANCE_HEAP_MB}), main ×${(end.mainMb / mark.mainMb).toFixed(2)}, proxy ×${(end.proxyMb / mark.proxyMb).toFixed(2)} (reach ≤ ${TOLERANCE_RESIDENT}): ${isFlat ? "reached" : "not reached"}\n`,
  );
  if (!isFlat) process.exitCode = 1;
}
