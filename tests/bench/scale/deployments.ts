/** Many deployments at once, and many that run: simulated ones, which cost nothing but what Toolyard itself does. */
import { setTimeout as delay } from "node:timers/promises";
import { createClient } from "graphql-ws";
import { WebSocket } from "ws";
import { fillRoutes } from "./fill.ts";
import { startProgram, type Cost, type Program } from "./program.ts";

/** Told of each cost: of what, and of how many parts it is. */
export type Note = (what: string, cost: Cost, parts: number) => void;

const IN_FLIGHT = 16;
const WATCHERS = 20;
/** A readiness probe comes every ten seconds. */
const IDLE_MS = 20_000;
const EVENTS = "subscription { deploymentEvents { kind deploymentId deployment { name status } } }";

/** `count` deployments on a new installation: brought up, left alone, restarted before those who watch, stopped. */
export async function measureDeployments(dataDir: string, count: number, note: Note): Promise<void> {
  await using program = await startProgram(dataDir);
  const tools: string[] = [];
  for (let index = 0; index < count; index += 1) tools.push(await createTool(program, `Deployed ${index}`));
  await using watcher = watch(program);
  const deployed: string[] = [];
  const burst = async (kind: string, mutations: readonly (() => Promise<unknown>)[]) => {
    const all = watcher.until(kind, count);
    const waiting = [...mutations];
    const take = async () => {
      for (let next = waiting.pop(); next; next = waiting.pop()) await next();
    };
    await Promise.all([all, ...Array.from({ length: IN_FLIGHT }, take)]);
    await program.quiet();
  };
  await delay(1_000);
  note(
    "brought up, all at once",
    await program.measure(() =>
      burst(
        "REPLICA_READY",
        tools.map((id) => async () => deployed.push(await deploy(program, id))),
      ),
    ),
    count,
  );
  const idle = await program.measure(() => delay(IDLE_MS), { watch: false });
  const minutes = idle.wallMs / 60_000;
  note("idle, each minute", { ...idle, ...(await holdsOf(program, () => delay(IDLE_MS / 2))) }, count * minutes);
  for (const [what, text] of Object.entries(reads)) {
    await program.query(text);
    note(
      what,
      await program.measure(async () => {
        for (let round = 0; round < 10; round += 1) await program.query(text);
      }),
      10,
    );
  }
  for (const path of ["/metrics", "/health"])
    note(
      `\`${path}\``,
      await program.measure(async () =>
        (
          await fetch(program.toolyard.url + path, { headers: { authorization: `Bearer ${program.token}` } })
        ).arrayBuffer(),
      ),
      1,
    );
  const watchers = Array.from({ length: WATCHERS }, () => watch(program));
  await delay(500);
  note(
    `restarted, all at once, with ${WATCHERS} who watch`,
    await program.measure(() =>
      burst(
        "REPLICA_READY",
        deployed.map((id) => () => program.query("mutation ($id: ID!) { restartDeployment(id: $id) { id } }", { id })),
      ),
    ),
    count,
  );
  for (const each of watchers) await each[Symbol.asyncDispose]();
  note(
    "stopped, all at once",
    await program.measure(() =>
      burst(
        "STOPPED",
        deployed.map((id) => () => program.query("mutation ($id: ID!) { stopDeployment(id: $id) { id } }", { id })),
      ),
    ),
    count,
  );
}

const reads: Record<string, string> = {
  "a page of 100 deployments with replicas, health checks and events": `{ deployments(first: 100) { edges { node { name status health mcpUrl tool { slug } deployedBy { username }
    replicas { phase restarts } healthChecks(first: 3) { status } events(first: 3) { edges { node { kind } } } } } } }`,
  "a page of 100 tools with `mcpUrl` and deployments":
    "{ tools(first: 100) { edges { node { slug mcpUrl deployments(first: 3) { edges { node { name status } } } } } } }",
};

/** One deployment among `routes` routes of a proxy, changed again and again. */
export async function measureRoutes(dataDir: string, routes: number, note: Note): Promise<void> {
  await (await startProgram(dataDir))[Symbol.asyncDispose]();
  // Its name and its tool's.
  fillRoutes(dataDir, 0, Math.floor(routes / 2));
  await using program = await startProgram(dataDir);
  note("start, of all processes", program.start, 1);
  await using watcher = watch(program);
  await delay(500);
  const up = watcher.until("REPLICA_READY", 1);
  const id = await deploy(program, await createTool(program, "Changed"));
  await up;
  await program.quiet();
  const rounds = 5;
  note(
    "one deployment restarted",
    await program.measure(async () => {
      for (let round = 0; round < rounds; round += 1) {
        const ready = watcher.until("REPLICA_READY", 1);
        await program.query("mutation ($id: ID!) { restartDeployment(id: $id) { id } }", { id });
        await ready;
        await delay(200);
      }
    }),
    rounds,
  );
  const idle = await program.measure(() => delay(IDLE_MS / 2), { watch: false });
  note("idle, each minute", { ...idle, ...(await holdsOf(program, () => delay(IDLE_MS / 4))) }, idle.wallMs / 60_000);
}

async function holdsOf(program: Program, work: () => Promise<unknown>): Promise<Pick<Cost, "hold">> {
  const { hold } = await program.measure(work);
  return { hold };
}

async function createTool({ query }: Program, name: string): Promise<string> {
  const { createTool: tool } = await query<{ createTool: { id: string } }>(
    "mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }",
    { input: { name, description: "It is deployed.", launch: { stdio: { command: "some-server" } } } },
  );
  return tool.id;
}

async function deploy({ query }: Program, id: string): Promise<string> {
  const { deployTool } = await query<{ deployTool: { id: string } }>(
    "mutation ($input: DeployToolInput!) { deployTool(input: $input) { id } }",
    { input: { toolId: id } },
  );
  return deployTool.id;
}

/** A subscriber to all events. */
function watch({ toolyard, token }: Program): AsyncDisposable & { until(kind: string, count: number): Promise<void> } {
  const client = createClient({
    url: `${toolyard.url.replace("http", "ws")}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${token}` },
    lazy: false,
  });
  const waits = new Set<(event: { kind: string; deploymentId: string }) => void>();
  const end = client.subscribe<{ deploymentEvents: { kind: string; deploymentId: string } }>(
    { query: EVENTS },
    {
      next: ({ data }) => data && waits.forEach((wait) => wait(data.deploymentEvents)),
      error: () => undefined,
      complete: () => undefined,
    },
  );
  return {
    until: (kind, count) =>
      new Promise((resolve) => {
        const seen = new Set<string>();
        const wait = (event: { kind: string; deploymentId: string }) => {
          if (event.kind === kind) seen.add(event.deploymentId);
          if (seen.size < count) return;
          waits.delete(wait);
          resolve();
        };
        waits.add(wait);
      }),
    async [Symbol.asyncDispose]() {
      end();
      await client.dispose();
    },
  };
}
