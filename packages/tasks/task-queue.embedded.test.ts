import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInProcessBus } from "@toolyard/events";
import { ToolyardError, createLogger } from "@toolyard/service-kit";
import { openDatabase, readMigrations } from "@toolyard/storage";
import { turns } from "@toolyard/testing/turns.ts";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { createSqliteSource } from "@toolyard/storage/sqlite/sqlite-database.ts";
import { entities, migrationsFolder } from "./database.ts";
import type { TaskDispatcher } from "./task-dispatcher.ts";
import { createTaskQueue } from "./task-queue.embedded.ts";
import { taskQueueContract } from "./task-queue.contract.ts";
import { withTaskQueues } from "./task-queue.fixture.ts";
import { createTaskStore } from "./task-store.sql.ts";

const logger = createLogger({ level: "silent", name: "test" });

describe("the embedded task queue", () => {
  taskQueueContract(withTaskQueues);

  test("the same kind cannot be registered twice, but again after its worker was closed", () =>
    withTaskQueues(async ({ open }) => {
      const queue = await open();
      const worker = queue.register("VALIDATION", async () => null);
      expect(() => queue.register("VALIDATION", async () => null)).toThrow("already");
      await worker.close();
      queue.register("VALIDATION", async () => null);
    }));

  test("a store that is away when a run ends costs no second run: the outcome is written when it is back", async () => {
    const dataDir = await mkdtemp(join(tmpdir(), "toolyard-tasks-"));
    const bus = createInProcessBus();
    const store = await createTaskStore({ dataDir, bus });
    const away = [
      new ToolyardError("UPSTREAM_UNAVAILABLE", "It is away."),
      Object.assign(new Error("The connection broke."), { code: "ECONNRESET" }),
    ];
    const queue = createTaskQueue({
      store: {
        ...store,
        async succeed(...args) {
          const error = away.shift();
          if (error) throw error;
          return store.succeed(...args);
        },
      },
      bus,
      logger,
    });
    let runs = 0;
    queue.register("VALIDATION", async () => (runs += 1));
    const { id } = await queue.enqueue({ kind: "VALIDATION", input: null, requestedById: null });
    await expect.poll(async () => (await store.getMany([id]))[0]?.status, { timeout: 10_000 }).toBe("SUCCEEDED");
    expect(await store.resultsOf([id])).toEqual([1]);
    expect(away).toEqual([]);
    await queue.close();
    await store.close();
    await rm(dataDir, { recursive: true, force: true });
  });

  test("a store that stays away does not hold up the end of a queue", async () => {
    const dataDir = await mkdtemp(join(tmpdir(), "toolyard-tasks-"));
    const bus = createInProcessBus();
    const store = await createTaskStore({ dataDir, bus });
    const tried = Promise.withResolvers<void>();
    const queue = createTaskQueue({
      store: {
        ...store,
        async succeed() {
          tried.resolve();
          throw new ToolyardError("UPSTREAM_UNAVAILABLE", "It is away.");
        },
      },
      bus,
      logger,
      graceMs: 10,
    });
    queue.register("VALIDATION", async () => null);
    const { id } = await queue.enqueue({ kind: "VALIDATION", input: null, requestedById: null });
    await tried.promise;
    await queue.close();
    expect(await store.getMany([id])).toMatchObject([{ status: "RUNNING" }]);
    await store.close();
    await rm(dataDir, { recursive: true, force: true });
  });

  test("a worker that closes is told of nothing more before its tasks end, and hands on what it was told", async () => {
    const dataDir = await mkdtemp(join(tmpdir(), "toolyard-tasks-"));
    const bus = createInProcessBus();
    const store = await createTaskStore({ dataDir, bus });
    const toldLast = Promise.withResolvers<void>();
    const announced: string[] = [];
    let tell: () => Promise<void> = async () => {};
    const dispatcher: TaskDispatcher = {
      isAway: false,
      announce: (kind) => void announced.push(kind),
      work(_kind, look) {
        tell = look;
        return { close: async () => toldLast.resolve() };
      },
      async close() {},
    };
    const queue = createTaskQueue({ store, bus, logger, dispatcher });
    const started = Promise.withResolvers<void>();
    const worker = queue.register("VALIDATION", async () => {
      started.resolve();
      await toldLast.promise;
    });
    await queue.enqueue({ kind: "VALIDATION", input: null, requestedById: null });
    void tell();
    await started.promise;
    await worker.close();
    announced.length = 0;
    await tell();
    expect(announced).toEqual(["VALIDATION"]);
    await queue.close();
    await store.close();
    await rm(dataDir, { recursive: true, force: true });
  });

  test("an idle queue reads now and then and writes nothing", async () => {
    const dataDir = await mkdtemp(join(tmpdir(), "toolyard-tasks-"));
    const bus = createInProcessBus();
    const store = await createTaskStore({ dataDir, bus });
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    onTestFinished(() => void vi.useRealTimers());
    let reads = 0;
    let claims = 0;
    const counted = {
      ...store,
      nextDueAt: (...args: Parameters<typeof store.nextDueAt>) => {
        reads++;
        return store.nextDueAt(...args);
      },
      claim: (...args: Parameters<typeof store.claim>) => {
        claims++;
        return store.claim(...args);
      },
    };
    const queue = createTaskQueue({ store: counted, bus, logger, pollIntervalMs: 50 });
    queue.register("VALIDATION", async () => null);
    for (let look = 1; look < 6; look++) {
      while (reads < look) await turns(1);
      vi.advanceTimersByTime(49);
      await turns(20);
      expect(reads).toBe(look);
      vi.advanceTimersByTime(1);
    }
    await queue.close();
    await store.close();
    await rm(dataDir, { recursive: true, force: true });
    expect(claims).toBe(0);
  });
});

test("the migrations make what the entities say", async () => {
  const migrations = readMigrations(migrationsFolder);
  const source = createSqliteSource({ file: ":memory:", entities, migrations }, true);
  await source.initialize();
  const { upQueries } = await source.driver.createSchemaBuilder().log();
  await source.destroy();
  expect(upQueries.map(({ query }) => query)).toEqual([]);
  const database = await openDatabase({ file: ":memory:", entities, migrations });
  await database.ping();
  await database.close();
});
