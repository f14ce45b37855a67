/**
 * What Redis adds and costs, as ratios: an event from its commit to a follower, in one process and by Redis between two; tasks on BullMQ with the
 * rows that are their truth, and without it, against BullMQ alone, as it comes and where Redis waits for its disk (`appendfsync always`, set meanwhile), as
 * rows do. Wants TEST_REDIS_URL; for rows on MySQL, TEST_MYSQL_URL. `node tests/bench/run.ts redis`
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { createEventTail, createInProcessBus, createRedisBus, type WakeUpBus } from "@toolyard/events";
import { openRedis, type RedisConnection } from "@toolyard/redis";
import { createLogger, newId } from "@toolyard/service-kit";
import type { DatabaseSettings } from "@toolyard/service-kit/process/process-config.ts";
import { observeStatements } from "@toolyard/storage";
import { createScratchDatabase } from "@toolyard/storage/mysql/scratch-database.ts";
import { createTaskStore, openTaskQueue } from "@toolyard/tasks";
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

const CONCURRENCY = 8;
/** Requests to queue a task that are under way at once. */
const PRODUCERS = 100;
const tasksOf = (workMs: number) => (workMs < 10 ? 4_000 : workMs < 100 ? 1_500 : 600);

interface Measured {
  /** Tasks/s, from the first that is queued to the last that has ended. */
  rate: number;
  /** Of each task. Commands include those of scripts. */
  commits: number;
  statements: number;
  commands: number;
}

async function commandsSoFar(): Promise<number> {
  const [probe] = opened;
  return Number(/total_commands_processed:(\d+)/.exec((await probe?.client.info("stats")) ?? "")?.[1]);
}

async function measure(
  workMs: number,
  open: (handler: () => Promise<void>) => Promise<{ add(): Promise<unknown>; close(): Promise<unknown> }>,
): Promise<Measured> {
  const count = tasksOf(workMs);
  const done = Promise.withResolvers<void>();
  let ended = 0;
  const { add, close } = await open(async () => {
    if (workMs > 0) await delay(workMs);
    ended += 1;
    if (ended === count) done.resolve();
  });
  let statements = 0;
  let commits = 0;
  const stopObserving = observeStatements(({ sql }) => {
    statements += 1;
    if (sql === "COMMIT") commits += 1;
  });
  const commandsBefore = await commandsSoFar();
  const began = performance.now();
  let left = count;
  const producer = async () => {
    while (left-- > 0) await add();
  };
  await Promise.all(Array.from({ length: PRODUCERS }, producer));
  await done.promise;
  const rate = count / ((performance.now() - began) / 1_000);
  const commands = (await commandsSoFar()) - commandsBefore;
  stopObserving();
  await close();
  return { rate, statements: statements / count, commits: commits / count, commands: commands / count };
}

const bare = (workMs: number) =>
  measure(workMs, async (handler) => {
    const prefix = `${keyPrefix}:bare`;
    const queue = new Queue("bare", { prefix, connection: (await connect()).client });
    const connection = (await connect()).patient();
    const worker = new Worker("bare", handler, { prefix, connection, concurrency: CONCURRENCY });
    await worker.waitUntilReady();
    return {
      add: () => queue.add("look", null, { jobId: newId(), removeOnComplete: true, removeOnFail: true }),
      async close() {
        await worker.close();
        await queue.close();
      },
    };
  });

/** The same, acknowledged when it is on disk. */
async function bareOnDisk(workMs: number): Promise<Measured> {
  const { client } = await connect();
  const set = { appendonly: "yes", appendfsync: "always" };
  const before = await Promise.all(
    Object.keys(set).map(async (name) => [name, ((await client.config("GET", name)) as string[])[1] ?? ""] as const),
  );
  try {
    for (const [name, value] of Object.entries(set)) await client.config("SET", name, value);
    return await bare(workMs);
  } finally {
    for (const [name, value] of before) await client.config("SET", name, value);
  }
}

const ours = (workMs: number, options: { onRedis: boolean; database?: DatabaseSettings }) =>
  measure(workMs, async (handler) => {
    const folder = await mkdtemp(join(dataDir, "tasks-"));
    const redis = options.onRedis ? await connect() : null;
    const queue = await openTaskQueue({ ...options, dataDir: folder, redis, bus: createInProcessBus(), logger });
    queue.register("VALIDATION", handler, { concurrency: CONCURRENCY });
    return { add: () => queue.enqueue(job), close: () => queue.close() };
  });

const serverUrl = process.env["TEST_MYSQL_URL"];
const scratch = serverUrl ? await createScratchDatabase(serverUrl) : null;
if (!scratch) console.log("  on MySQL: skipped, TEST_MYSQL_URL is not set");
for (const workMs of [0, 1, 10, 100]) {
  const alone = await bare(workMs);
  const onDisk = await bareOnDisk(workMs);
  const database = scratch && { url: scratch.url, ca: null, poolSize: 6 };
  const found = {
    "embedded on SQLite": await ours(workMs, { onRedis: false }),
    "BullMQ with rows on SQLite": await ours(workMs, { onRedis: true }),
    ...(database && { "BullMQ with rows on MySQL": await ours(workMs, { onRedis: true, database }) }),
  };
  console.log(
    `  tasks of ${workMs} ms, ${CONCURRENCY} at once: ${alone.rate.toFixed(0)}/s on BullMQ alone, ${onDisk.rate.toFixed(0)}/s where Redis waits for its disk, ${alone.commands.toFixed(0)} commands each; of these`,
  );
  for (const [name, { rate, commits, statements, commands }] of Object.entries(found))
    console.log(
      `    ${(rate / alone.rate).toFixed(2)} and ${(rate / onDisk.rate).toFixed(2)} by ${name} (${rate.toFixed(0)}/s; ${statements.toFixed(2)} statements in ${commits.toFixed(3)} commits and ${commands.toFixed(2)} commands each)`,
    );
}
await scratch?.drop();

const [last] = opened;
if (last)
  for await (const keys of last.client.scanStream({ match: `${keyPrefix}:*`, count: 1_000 }) as AsyncIterable<string[]>)
    if (keys.length > 0) await last.client.del(keys);
for (const redis of opened) await redis.close();
await rm(dataDir, { recursive: true });
process.exit();
