import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInProcessBus } from "@toolyard/events";
import { createScheduler } from "@toolyard/scheduler";
import { createLogger } from "@toolyard/service-kit";
import type { LongWork } from "@toolyard/storage";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { openSubgraph, type SubgraphHost, type SubgraphParts } from "./hosted-subgraph.ts";
import { createStores, type Stores } from "./stores.ts";

const logger = createLogger({ level: "silent", name: "test" });
/** Of a subgraph whose schema needs nothing but resolvers that exist already. */
const definition = { name: "knowledge", folder: join(import.meta.dirname, "..", "..", "subgraphs", "knowledge") };
const parts: SubgraphParts = { resolvers: {}, createContext: () => ({}) };
const noTables = { entities: [], migrationsFolder: import.meta.dirname };

let dataDir: string;
let stores: Stores;
/** What was done, in order. */
let log: string[];
beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "toolyard-host-"));
  log = [];
  const sqlite = createStores({ dataDir, bus: createInProcessBus(), logger });
  stores = {
    ...sqlite,
    async openDatabase(options) {
      const database = await sqlite.openDatabase(options);
      return { ...database, close: () => database.close().then(() => void log.push(`${options.name} closed`)) };
    },
  };
});
afterEach(async () => {
  await stores.close();
  await rm(dataDir, { recursive: true, force: true });
});

const open = (build: (host: SubgraphHost) => Promise<SubgraphParts>, runsTasks?: boolean) =>
  openSubgraph(definition, { stores, logger, runsTasks }, build);

test("closes what it was given last first, then its stores, and once", async () => {
  const subgraph = await open(async (host) => {
    await host.openDatabase(noTables);
    host.closing.addEventListener("abort", () => log.push("closing"));
    host.onClose(() => log.push("first"));
    host.onClose(() => log.push("second"));
    return { ...parts, start: () => host.onClose(() => log.push("started last")) };
  });
  await subgraph.start();
  await Promise.all([subgraph.close(), subgraph.close()]);
  expect(log).toEqual(["closing", "started last", "second", "first", "knowledge closed"]);
});

test("what cannot be written at its end since the database is away is no failure; what else fails is, and keeps nothing open", async () => {
  const subgraph = (error: Error) =>
    open(async (host) => {
      await host.openDatabase(noTables);
      host.onClose(() => log.push("first"));
      host.onClose(() => Promise.reject(error));
      return parts;
    });
  const away = await subgraph(Object.assign(new Error("away"), { code: "ECONNREFUSED" }));
  await away.close();
  expect(log.splice(0)).toEqual(["first", "knowledge closed"]);
  const faulty = await subgraph(new Error("a fault"));
  await expect(faulty.close()).rejects.toThrow("a fault");
  expect(log).toEqual(["first", "knowledge closed"]);
});

test("leaves nothing open when it cannot be built", async () => {
  const opening = open(async (host) => {
    await host.openDatabase(noTables);
    host.onClose(() => log.push("closed"));
    throw new Error("no port is free");
  });
  await expect(opening).rejects.toThrow("no port is free");
  expect(log).toEqual(["closed", "knowledge closed"]);
});

test("each of its databases is essential to it, and what else it rests on is as it says", async () => {
  const runtime = { name: "runtime:mock", status: "healthy", essential: false, responseTimeMs: 0 } as const;
  const subgraph = await open(async (host) => {
    await host.openDatabase(noTables);
    return { ...parts, health: async () => [runtime] };
  });
  try {
    expect(await subgraph.health()).toMatchObject([
      { name: "sqlite", status: "healthy", essential: true },
      { name: "runtime:mock", status: "healthy", essential: false },
    ]);
  } finally {
    await subgraph.close();
  }
});

test("runs the jobs that it contributes while it is open, tells of them, and ends them before its stores close", async () => {
  const begun = Promise.withResolvers<void>();
  const run = async ({ signal }: LongWork) => {
    begun.resolve();
    await new Promise((resolve) => signal?.addEventListener("abort", resolve));
    log.push("job ended");
    return 0;
  };
  stores = { ...stores, scheduler: createScheduler({ logger, schedule: "* * * * * *" }) };
  const subgraph = await open(async (host) => {
    await host.openDatabase(noTables);
    return { ...parts, jobs: [{ name: "sweeping", leases: null, run }] };
  });
  await subgraph.start();
  await begun.promise;
  expect(await subgraph.health()).toMatchObject([{ name: "sqlite" }, { name: "jobs", status: "healthy" }]);
  expect(await subgraph.gauges?.()).toContainEqual(expect.objectContaining({ labels: { job: "sweeping" } }));
  await subgraph.close();
  expect(log).toEqual(["job ended", "knowledge closed"]);
});

test("runs the kinds of tasks that it contributes from when it starts, in the process's one queue", async () => {
  const seen: unknown[] = [];
  const subgraph = await open(async () => ({
    ...parts,
    tasks: { VALIDATION: { handler: async ({ input }) => void seen.push(input) } },
  }));
  const queue = await stores.tasks();
  const { id } = await queue.enqueue({ kind: "VALIDATION", input: { of: 1 }, requestedById: null });
  expect(seen).toEqual([]);
  await subgraph.start();
  await expect.poll(() => queue.store.getMany([id])).toMatchObject([{ status: "SUCCEEDED" }]);
  expect(seen).toEqual([{ of: 1 }]);
  await subgraph.close();
  expect(() => queue.register("VALIDATION", async () => null)).not.toThrow();
});

test("leaves tasks and jobs to workers where it is told to, and does its other work", async () => {
  const begin = vi.spyOn(stores.scheduler, "add");
  const run = async () => expect.fail();
  const subgraph = await open(
    async () => ({
      ...parts,
      tasks: { VALIDATION: { handler: run } },
      jobs: [{ name: "sweeping", leases: null, run }],
      start: () => log.push("started"),
    }),
    false,
  );
  await subgraph.start();
  expect(begin).not.toHaveBeenCalled();
  expect(log).toEqual(["started"]);
  // Nobody runs its kind of task in this process.
  await (await stores.tasks()).register("VALIDATION", run).close();
  await subgraph.close();
});
