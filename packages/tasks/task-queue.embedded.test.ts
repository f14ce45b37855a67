import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInProcessBus } from "@toolyard/events";
import { createLogger } from "@toolyard/service-kit";
import { openDatabase, readMigrations } from "@toolyard/storage";
import { eventually } from "@toolyard/testing/eventually.ts";
import { turns } from "@toolyard/testing/turns.ts";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { createDataSource } from "@toolyard/storage/sqlite/sqlite-database.ts";
import { entities, migrationsFolder } from "./database.ts";
import { createTaskQueue } from "./task-queue.embedded.ts";
import { LEASE_MS, RETRY_BASE_MS, taskQueueContract, type TaskQueueFixture } from "./task-queue.contract.ts";
import type { TaskQueue } from "./task-queue.ts";
import { TASK_WORK_TOPIC, createTaskStore } from "./task-store.sql.ts";
import type { TaskStore } from "./task-store.ts";

const logger = createLogger({ level: "silent", name: "test" });

async function withFixture(run: (fixture: TaskQueueFixture) => Promise<void>): Promise<void> {
  const dataDir = await mkdtemp(join(tmpdir(), "toolyard-tasks-"));
  const closers: (() => Promise<void>)[] = [];
  const children: ChildProcess[] = [];
  const buses = new Set<ReturnType<typeof createInProcessBus>>();
  /** How often each queue that works has read what there is to do: once or twice in a look. */
  const reads = new Map<TaskQueue, number>();
  let offset = 0;
  const start = Date.now();
  const now = () => start + offset;
  const wake = () => {
    for (const bus of buses) bus.wake(TASK_WORK_TOPIC);
  };
  try {
    await run({
      async open({ heartbeats = true, graceMs = 1_000 } = {}) {
        // A bus of its own: what another process does is found by looking.
        const bus = createInProcessBus();
        buses.add(bus);
        const store = await createTaskStore({ dataDir, bus, now });
        const count = () => reads.set(opened, (reads.get(opened) ?? 0) + 1);
        const counted: TaskStore = {
          ...store,
          inspect: (leases) => (count(), store.inspect(leases)),
          nextDueAt: (kinds) => (count(), store.nextDueAt(kinds)),
        };
        const queue = createTaskQueue({
          store: counted,
          bus,
          logger,
          now,
          graceMs,
          leaseMs: LEASE_MS,
          retryBaseMs: RETRY_BASE_MS,
          heartbeatIntervalMs: heartbeats ? 10 : 3_600_000,
          pollIntervalMs: 25,
          progressIntervalMs: 50,
        });
        let closed = false;
        const close = async () => {
          if (closed) return;
          closed = true;
          reads.delete(opened);
          await queue.close();
          await store.close();
        };
        closers.push(close);
        const opened: TaskQueue = {
          ...queue,
          register(...args) {
            reads.set(opened, 0);
            return queue.register(...args);
          },
          close,
        };
        return opened;
      },
      advance(ms) {
        offset += ms;
        wake();
      },
      async looked() {
        const before = new Map(reads);
        // Of three looks the first may have begun earlier, and where the third has begun the second has ended.
        await eventually("a look", () => {
          wake();
          return [...before].every(([queue, count]) => (reads.get(queue) ?? Infinity) >= count + 6);
        });
      },
      startWorkerProcess() {
        const file = join(import.meta.dirname, "fixtures", "worker-process.ts");
        const child = spawn(process.execPath, [file, dataDir], { stdio: ["pipe", "pipe", "inherit"] });
        children.push(child);
        return child;
      },
    });
  } finally {
    for (const child of children) child.kill("SIGKILL");
    for (const close of closers) await close();
    await rm(dataDir, { recursive: true, force: true });
  }
}

describe("the embedded task queue", () => {
  taskQueueContract(withFixture);

  test("the same kind cannot be registered twice, but again after its worker was closed", () =>
    withFixture(async ({ open }) => {
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
  const source = createDataSource({ file: ":memory:", entities, migrations }, true);
  await source.initialize();
  const { upQueries } = await source.driver.createSchemaBuilder().log();
  await source.destroy();
  expect(upQueries.map(({ query }) => query)).toEqual([]);
  const database = await openDatabase({ file: ":memory:", entities, migrations });
  await database.ping();
  await database.close();
});
