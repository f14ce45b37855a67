import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInProcessBus } from "@toolyard/events";
import { createLogger } from "@toolyard/service-kit";
import { openDatabase, readMigrations } from "@toolyard/storage";
import { turns } from "@toolyard/testing/turns.ts";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { createSqliteSource } from "@toolyard/storage/sqlite/sqlite-database.ts";
import { entities, migrationsFolder } from "./database.ts";
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
