/**
 * What Redis adds and costs, as ratios: an event from its commit to a follower, in one process and by Redis between two; tasks on BullMQ with the
 * rows that are their truth, against BullMQ alone. Wants TEST_REDIS_URL. `node tests/bench/run.ts redis`
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { createEventTail, createInProcessBus, createRedisBus, type WakeUpBus } from "@toolyard/events";
import { openRedis, type RedisConnection } from "@toolyard/redis";
import { createLogger, newId } from "@toolyard/service-kit";
import { createTaskQueue, createTaskStore, openTaskQueue } from "@toolyard/tasks";
import { createBullDispatcher } from "@toolyard/tasks/task-dispatcher.bullmq.ts";
import { Queue, Worker } from "bullmq";

const url = process.env["TEST_REDIS_URL"];
if (!url) {
  console.log("  skipped: TEST_REDIS_URL is not set");
  process.exit();
}
const keyPrefix = `bench-${newId()}`;
const logger = createLogger({ level: "silent", name: "bench" });
const opened: RedisConnection[] = [];
async function connect(): Promise<RedisConnection> {
  const redis = openRedis({ settings: { url: url ?? "", ca: null, keyPrefix }, name: "bench", logger });
  opened.push(redis);
  while (redis.isAway) await delay(5);
  return redis;
}
const dataDir = await mkdtemp(join(tmpdir(), "toolyard-bench-"));
const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
const job = { kind: "VALIDATION", input: {}, requestedById: null } as const;

/** Milliseconds from the end of the write to the follower's event. */
async function latencyOf(name: string, writer: WakeUpBus, reader: WakeUpBus): Promise<number> {
  const folder = await mkdtemp(join(dataDir, name));
  const stores = [
    await createTaskStore({ dataDir: folder, bus: writer }),
    await createTaskStore({ dataDir: folder, bus: reader }),
  ] as const;
  const tail = createEventTail({ log: stores[1].events, bus: reader, logger });
  const events = tail.follow({ after: null });
  const took: number[] = [];
  let next = events.next();
  await delay(300);
  for (let n = 0; n < 300; n++) {
    await stores[0].insert(job);
    const committed = performance.now();
    await next;
    took.push(performance.now() - committed);
    next = events.next();
  }
  tail.close();
  for (const store of stores) await store.close();
  return median(took);
}

const embedded = createInProcessBus();
const inOne = await latencyOf("embedded", embedded, embedded);
const byRedis = await latencyOf("redis", createRedisBus(await connect()), createRedisBus(await connect()));
console.log(
  `  event from commit to follower: ${inOne.toFixed(2)} ms in one process, ${byRedis.toFixed(2)} ms by Redis to another (${(byRedis / inOne).toFixed(1)} times)`,
);

const TASKS = 600;
const CONCURRENCY = 8;

async function bare(workMs: number): Promise<number> {
  const connection = (await connect()).client;
  const blocking = (await connect()).patient();
  const queue = new Queue("bare", { prefix: `${keyPrefix}:bare`, connection });
  const done = Promise.withResolvers<void>();
  let count = 0;
  const worker = new Worker(
    "bare",
    async () => {
      if (workMs > 0) await delay(workMs);
      if (++count === TASKS) done.resolve();
    },
    { prefix: `${keyPrefix}:bare`, connection: blocking, concurrency: CONCURRENCY },
  );
  await worker.waitUntilReady();
  const began = performance.now();
  for (let n = 0; n < TASKS; n++)
    await queue.add("look", null, { jobId: newId(), removeOnComplete: true, removeOnFail: true });
  await done.promise;
  const rate = TASKS / ((performance.now() - began) / 1_000);
  await worker.close();
  await queue.close();
  return rate;
}

async function ours(workMs: number, isEmbedded: boolean): Promise<number> {
  const folder = await mkdtemp(join(dataDir, "tasks-"));
  const bus = createInProcessBus();
  const queue = isEmbedded
    ? await openTaskQueue({ dataDir: folder, bus, logger })
    : createTaskQueue({
        store: await createTaskStore({ dataDir: folder, bus }),
        bus,
        logger,
        dispatcher: createBullDispatcher({ redis: await connect() }),
      });
  const done = Promise.withResolvers<void>();
  let count = 0;
  queue.register(
    "VALIDATION",
    async () => {
      if (workMs > 0) await delay(workMs);
      if (++count === TASKS) done.resolve();
    },
    { concurrency: CONCURRENCY },
  );
  const began = performance.now();
  for (let n = 0; n < TASKS; n++) await queue.enqueue(job);
  await done.promise;
  const rate = TASKS / ((performance.now() - began) / 1_000);
  await queue.close();
  if (!isEmbedded) await queue.store.close();
  return rate;
}

for (const workMs of [0, 100]) {
  const [alone, withRows, withoutRedis] = [await bare(workMs), await ours(workMs, false), await ours(workMs, true)];
  console.log(
    `  tasks of ${workMs} ms, ${CONCURRENCY} at once: ${withRows.toFixed(0)}/s on BullMQ with rows, ${(withRows / alone).toFixed(2)} of BullMQ alone (${alone.toFixed(0)}/s); embedded ${withoutRedis.toFixed(0)}/s`,
  );
}

const [last] = opened;
if (last)
  for await (const keys of last.client.scanStream({ match: `${keyPrefix}:*`, count: 1_000 }) as AsyncIterable<string[]>)
    if (keys.length > 0) await last.client.del(keys);
for (const redis of opened) await redis.close();
await rm(dataDir, { recursive: true });
process.exit();
