import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { createInProcessBus } from "@toolyard/events";
import { createLogger } from "@toolyard/service-kit";
import { createScratchDatabase } from "@toolyard/storage/mysql/scratch-database.ts";
import { noShiftedClock, shiftedBy } from "@toolyard/testing/shifted-clock.ts";
import { describeOnMysql } from "@toolyard/testing/sql-stores.ts";
import { entities, migrationsFolder } from "@toolyard/tasks/database.ts";
import { expect, onTestFinished, test } from "vitest";
import { createStores } from "./stores.ts";

const logger = createLogger({ level: "silent", name: "test" });

async function place(server: string) {
  const { url, drop } = await createScratchDatabase(server);
  onTestFinished(drop);
  const dataDir = await mkdtemp(join(tmpdir(), "toolyard-clocks-"));
  onTestFinished(() => rm(dataDir, { recursive: true, force: true }));
  return { dataDir, database: { url, ca: null, poolSize: 2 } };
}

const apart = "Workers whose clocks are four minutes apart";
if (noShiftedClock !== null) test.skip(`${apart} (skipped: ${noShiftedClock})`);
else
  describeOnMysql(apart, (server) => {
    test("run each task once, with two minutes between them and the database", async () => {
      const { dataDir, database } = await place(server);
      const stores = createStores({ dataDir, database, bus: createInProcessBus(), logger });
      onTestFinished(() => stores.close());
      const queue = await stores.tasks();
      const enqueue = () => queue.enqueue({ kind: "VALIDATION", input: null, requestedById: null });
      const startWorker = (aheadSeconds: number) => {
        const file = join(import.meta.dirname, "fixtures", "task-worker.ts");
        const child = spawn(process.execPath, [file, dataDir, database.url], {
          env: { ...process.env, ...shiftedBy(aheadSeconds) },
          stdio: ["pipe", "pipe", "inherit"],
        });
        onTestFinished(() => void child.kill("SIGKILL"));
        const runs: string[] = [];
        createInterface({ input: child.stdout }).on("line", (line) => runs.push(line));
        return {
          runs,
          endTasks: () => child.stdin.write("now\n"),
          async stop() {
            child.stdin.end();
            await once(child, "exit");
          },
        };
      };
      const started = (tasks: readonly { id: string }[]) => tasks.map(({ id }) => `started ${id} 1`).toSorted();

      const first = [await enqueue(), await enqueue()];
      const behind = startWorker(-120);
      await expect.poll(() => behind.runs.toSorted()).toEqual(started(first));
      // By its own clock, the leases of those that run have ended, and they come before what waits.
      const then = [await enqueue(), await enqueue()];
      const ahead = startWorker(120);
      await expect.poll(() => ahead.runs.length).toBeGreaterThan(1);
      expect(ahead.runs.toSorted()).toEqual(started(then));
      for (const worker of [behind, ahead]) worker.endTasks();
      const all = [...first, ...then].map(({ id }) => id);
      await expect
        .poll(async () => (await queue.store.getMany(all)).map((task) => [task?.status, task?.attempts]))
        .toEqual(all.map(() => ["SUCCEEDED", 1]));
      await Promise.all([behind, ahead].map((worker) => worker.stop()));
    });
  });

describeOnMysql("Processes of hosts whose clocks differ", (server) => {
  test("have one time, the database's, and say by how much their own differs", async () => {
    const shared = await place(server);
    const times = await Promise.all(
      [0, 120_000, -120_000].map(async (aheadMs) => {
        const own = () => Date.now() + aheadMs;
        const stores = createStores({ ...shared, bus: createInProcessBus(), logger, own });
        onTestFinished(() => stores.close());
        expect(stores.health()).toEqual([]);
        const opened = await stores.openDatabase({ name: "tasks", entities, migrationsFolder });
        onTestFinished(() => opened.close());
        return { now: stores.now() - Date.now(), health: stores.health().map(({ detail }) => detail) };
      }),
    );
    for (const { now } of times) expect(Math.abs(now)).toBeLessThan(5_000);
    expect(times.map(({ health }) => health)).toEqual([
      [],
      [expect.stringMatching(/1[12]\d s ahead of that of the server of DATABASE_URL/)],
      [expect.stringMatching(/1[12]\d s behind that of the server of DATABASE_URL/)],
    ]);
  });
});
