import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { createInProcessBus } from "@toolyard/events";
import type { RedisConnection } from "@toolyard/redis";
import { createLogger } from "@toolyard/service-kit";
import {
  HELD_MS,
  describeOnRedis,
  describeWithOwnRedis,
  isGone,
  isThere,
  withRedis,
  withRedisServer,
} from "@toolyard/testing/redis.ts";
import { expect, test } from "vitest";
import { createBullDispatcher } from "./task-dispatcher.bullmq.ts";
import { taskQueueContract } from "./task-queue.contract.ts";
import { createTaskQueue, type EmbeddedTaskQueueOptions } from "./task-queue.embedded.ts";
import { withTaskQueues } from "./task-queue.fixture.ts";
import type { TaskQueue } from "./task-queue.ts";
import { createTaskStore } from "./task-store.sql.ts";
import type { NewTask } from "./task.ts";

const logger = createLogger({ level: "silent", name: "test" });
const JOB: NewTask = { kind: "FEASIBILITY", input: {}, requestedById: null };
const NEVER_MS = 3_600_000;

/** Queues that never look for themselves while Redis is there, each with a connection of its own. */
async function withQueues(
  run: (
    open: (more?: Partial<EmbeddedTaskQueueOptions> & { lockMs?: number }) => Promise<Opened>,
    dataDir: string,
  ) => Promise<void>,
  connect: () => RedisConnection,
): Promise<void> {
  const dataDir = await mkdtemp(join(tmpdir(), "toolyard-bullmq-"));
  const closers: (() => Promise<void>)[] = [];
  try {
    await run(async ({ lockMs, ...more } = {}) => {
      const redis = connect();
      await isThere(redis);
      const bus = createInProcessBus();
      const store = await createTaskStore({ dataDir, bus });
      const dispatcher = createBullDispatcher({ redis, ...(lockMs !== undefined && { lockMs }) });
      const own = { store, bus, logger, dispatcher, pollIntervalMs: 50, sweepIntervalMs: NEVER_MS, graceMs: 1_000 };
      const queue = createTaskQueue({ ...own, ...more });
      const close = async () => {
        await queue.close();
        await store.close();
      };
      closers.push(close);
      return { queue, redis, close };
    }, dataDir);
  } finally {
    for (const close of closers) await close();
    await rm(dataDir, { recursive: true, force: true });
  }
}

interface Opened {
  queue: TaskQueue;
  redis: RedisConnection;
  close(): Promise<void>;
}

const statusOf = async ({ queue }: Opened, id: string) => (await queue.store.getMany([id]))[0]?.status;

describeOnRedis("the task queue on BullMQ and Redis", () => {
  taskQueueContract((run) =>
    withRedis(async (open, prefix) =>
      withTaskQueues(run, {
        address: [process.env.TEST_REDIS_URL ?? "", prefix],
        async connect() {
          const redis = open();
          await isThere(redis);
          return redis;
        },
      }),
    ),
  );

  test("a process that runs nothing has others run its tasks, and they have not looked for them", () =>
    withRedis((connect) =>
      withQueues(async (open) => {
        const [asks, works] = [await open(), await open()];
        works.queue.register("FEASIBILITY", async ({ input }) => input);
        const { id } = await asks.queue.enqueue({ ...JOB, input: "done" });
        await expect.poll(() => statusOf(asks, id)).toBe("SUCCEEDED");
      }, connect),
    ));

  test("one job waits in Redis, however many tasks are due, and who takes it tells the next one", () =>
    withRedis((connect) =>
      withQueues(async (open) => {
        const opened = [await open(), await open(), await open()];
        const [asks] = opened as [Opened, Opened, Opened]; // opened above
        for (let n = 0; n < 6; n++) await asks.queue.enqueue(JOB);
        const { client, keyPrefix } = asks.redis;
        await expect.poll(() => client.llen(`${keyPrefix}:tasks:feasibility:wait`)).toBe(1);
        const runs = opened.map(() => 0);
        const release = Promise.withResolvers<void>();
        // Of tasks that are queued before it a process that begins finds out by itself.
        for (const [index, { queue }] of opened.entries())
          queue.register("FEASIBILITY", () => ((runs[index]! += 1), release.promise), { concurrency: 3 });
        await expect.poll(() => runs.reduce((sum, count) => sum + count)).toBe(6);
        for (let n = 0; n < 3; n++) await asks.queue.enqueue(JOB);
        await expect.poll(() => runs).toEqual([3, 3, 3]);
        release.resolve();
        await expect.poll(async () => (await asks.queue.store.countByStatus()).SUCCEEDED).toBe(9);
      }, connect),
    ));

  test("nothing is left in Redis of tasks that have ended", () =>
    withRedis(async (connect, prefix) =>
      withQueues(async (open) => {
        const opened = await open();
        opened.queue.register("FEASIBILITY", async () => null);
        const { id } = await opened.queue.enqueue(JOB);
        await expect.poll(() => statusOf(opened, id)).toBe("SUCCEEDED");
        await expect.poll(() => opened.redis.client.keys(`${prefix}:tasks:*${id}*`)).toEqual([]);
      }, connect),
    ));

  test("a task of a killed process is handed out again, once more only, when its lock and its lease have ended", () =>
    withRedis(async (connect, prefix) =>
      withQueues(async (open, dataDir) => {
        const asks = await open();
        const { id } = await asks.queue.enqueue(JOB);
        const file = join(import.meta.dirname, "fixtures", "worker-process.ts");
        const address = [process.env.TEST_REDIS_URL ?? "", prefix, "500"];
        const child = spawn(process.execPath, [file, dataDir, ...address], { stdio: ["pipe", "pipe", "inherit"] });
        const [line] = await once(createInterface({ input: child.stdout }), "line");
        expect(line).toBe(`started ${id} 1`);
        child.kill("SIGKILL");
        await once(child, "exit");
        const attempts: number[] = [];
        const works = await Promise.all([open({ lockMs: 500 }), open({ lockMs: 500 })]);
        for (const { queue } of works) queue.register("FEASIBILITY", async ({ task }) => attempts.push(task.attempts));
        await expect.poll(() => statusOf(asks, id)).toBe("SUCCEEDED");
        expect(attempts).toEqual([2]);
      }, connect),
    ));
});

describeWithOwnRedis("the task queue on BullMQ whose Redis goes", () => {
  test("tasks are accepted and run meanwhile, and nothing runs twice", () =>
    withRedisServer((server) =>
      withRedis(
        (connect) =>
          withQueues(async (open) => {
            const [asks, works] = [await open(), await open()];
            const runs = new Map<string, number>();
            works.queue.register(
              "FEASIBILITY",
              async ({ task }) => void runs.set(task.id, (runs.get(task.id) ?? 0) + 1),
              { concurrency: 4 },
            );
            const ids: string[] = [];
            const enqueue = async (count: number) => {
              for (let n = 0; n < count; n++) ids.push((await asks.queue.enqueue(JOB)).id);
            };
            const areDone = () =>
              expect
                .poll(async () => new Set(await Promise.all(ids.map((id) => statusOf(asks, id)))))
                .toEqual(new Set(["SUCCEEDED"]));
            await enqueue(10);
            await server.stop();
            await enqueue(10);
            await Promise.all([asks.redis, works.redis].map(isGone));
            await enqueue(10);
            await areDone();
            await server.start();
            await Promise.all([asks.redis, works.redis].map(isThere));
            await enqueue(10);
            await areDone();
            expect([...runs.values()]).toEqual(ids.map(() => 1));
          }, connect),
        server.url,
      ),
    ));

  test("of tasks that were queued meanwhile a worker that comes later is told, when Redis is back", () =>
    withRedisServer((server) =>
      withRedis(
        (connect) =>
          withQueues(async (open) => {
            const [asks, works] = [await open(), await open()];
            await server.stop();
            await Promise.all([asks.redis, works.redis].map(isGone));
            const { id } = await asks.queue.enqueue(JOB);
            await server.start();
            await Promise.all([asks.redis, works.redis].map(isThere));
            // It has been due for too short a time for a sweep.
            works.queue.register("FEASIBILITY", async () => null);
            await expect.poll(() => statusOf(asks, id)).toBe("SUCCEEDED");
          }, connect),
        server.url,
      ),
    ));

  test("closing returns while Redis is held, and its task goes back to the queue", () =>
    withRedisServer((server) =>
      withRedis(
        (connect) =>
          withQueues(async (open) => {
            const [asks, works] = [await open(), await open()];
            const started = Promise.withResolvers<void>();
            works.queue.register("FEASIBILITY", async ({ signal }) => {
              started.resolve();
              await once(signal, "abort");
              throw signal.reason;
            });
            const { id } = await asks.queue.enqueue(JOB);
            await started.promise;
            server.pause();
            await works.queue.close();
            expect(await statusOf(asks, id)).toBe("QUEUED");
            server.resume();
          }, connect),
        server.url,
        HELD_MS,
      ),
    ));
});
