import { createMemoryCache, createRedisCache, type Cache } from "@toolyard/cache";
import type { WakeUpBus } from "@toolyard/events";
import { createScheduler, type Scheduler } from "@toolyard/scheduler";
import { createTokenBuckets, sharedTokenBuckets, type CreateTokenBuckets } from "@toolyard/rate-limits";
import type { RedisConnection } from "@toolyard/redis";
import type { MongodbConnection } from "@toolyard/mongodb";
import type { Gauge, Logger, ServiceHealth } from "@toolyard/service-kit";
import type { DatabaseSettings, MongodbSettings } from "@toolyard/service-kit/process/process-config.ts";
import { createSharedClock, openStore, type Database, type StorePlace, type StoreTables } from "@toolyard/storage";
import { openInstallationMarks, requireNoMongodb } from "@toolyard/storage/installation-mark.ts";
import { openTaskQueue, type TaskQueue } from "@toolyard/tasks";
import { z } from "zod";

/** Where one process keeps its data: a port, with an adapter for each kind of server. The subgraphs know only this. */
export interface Stores {
  /** The name of a store in `/health`: `sqlite`, `mysql`. */
  readonly kind: string;
  readonly bus: WakeUpBus;
  /** Epoch milliseconds by the one clock of all processes that share the data. It is good once a store was opened. */
  now(): number;
  readonly scheduler: Scheduler;
  /** How long events, and records of what has ended, are kept. */
  readonly retentionMs: number;
  /** Of all processes on the same Redis, or of this one. */
  readonly createTokenBuckets: CreateTokenBuckets;
  /** Of texts, likewise. The options are of one process. */
  createCache(name: string, options: { maxEntries: number; now: () => number }): Cache<string>;
  /** Opens a subgraph's relational store and migrates it. The caller closes it. */
  openDatabase(tables: StoreTables): Promise<Database>;
  /**
   * The MongoDB for those that can keep their data there, opened when it is first asked for; null: there is none.
   * @throws ConfigError where it is not this installation's, or there is none and the installation has contents in one
   */
  mongodb(): Promise<MongodbConnection | null>;
  /** Notes that contents are in MongoDB from now on: without it, nothing starts that would keep them there. */
  noteMongodb(): Promise<void>;
  /** The one task queue of this process, opened when it is first asked for. */
  tasks(): Promise<TaskQueue>;
  /** Of what all of them share; a store has its own. */
  health(): ServiceHealth[];
  /** Of the servers that it is connected to. */
  gauges(): Promise<Gauge[]>;
  /** Closes everything that subgraphs share. To be called after they are closed. */
  close(): Promise<void>;
}

const DEFAULT_RETENTION_MS = 30 * 86_400_000;

/** SQLite files in a folder, or the servers that are given in their place. Several processes may have them open, and share the rest through Redis. */
export function createStores(options: {
  dataDir: string;
  database?: DatabaseSettings | null;
  redis?: RedisConnection | null;
  mongodb?: MongodbSettings | null;
  bus: WakeUpBus;
  logger: Logger;
  now?: () => number;
  /** This host's own clock, for tests. */
  own?: () => number;
  schedule?: string;
  retentionMs?: number;
}): Stores {
  const {
    dataDir,
    database = null,
    bus,
    redis = null,
    mongodb: settings,
    logger,
    retentionMs = DEFAULT_RETENTION_MS,
  } = options;
  const clock = createSharedClock(options);
  const now = options.now ?? clock.now;
  let queue: Promise<TaskQueue> | null = null;
  const place = { dataDir, database, logger };
  let mongodb: Promise<MongodbConnection | null> | null = null;
  let noted: Promise<void> | null = null;
  const openMongodb = () => (mongodb ??= connect(settings ?? null, place));
  return {
    kind: database ? "mysql" : "sqlite",
    bus,
    now,
    scheduler: createScheduler({ ...options, now }),
    retentionMs,
    createTokenBuckets: redis ? sharedTokenBuckets(redis) : createTokenBuckets,
    createCache: (name, own) =>
      redis ? createRedisCache({ redis, name, parse: z.string().parse }) : createMemoryCache(own),
    async openDatabase(tables) {
      const opened = await openStore(place, tables);
      await clock.follow(opened);
      return opened;
    },
    mongodb: openMongodb,
    noteMongodb: () => (noted ??= noteMongodb()),
    tasks: () => (queue ??= openTasks()),
    health: clock.health,
    gauges: async () => (await mongodb)?.gauges() ?? [],
    async close() {
      clock.close();
      // Who asked for one that could not be opened was told.
      for (const opening of [queue, mongodb]) await (await opening?.catch(() => null))?.close();
    },
  };

  async function noteMongodb(): Promise<void> {
    await using marks = await openInstallationMarks(place);
    await marks.pair();
  }

  async function openTasks(): Promise<TaskQueue> {
    return openTaskQueue({ ...options, now, database, mongodb: await openMongodb() });
  }
}

/** The driver is loaded where it is used. */
async function connect(
  settings: MongodbSettings | null,
  place: StorePlace & { logger: Logger },
): Promise<MongodbConnection | null> {
  await using marks = await openInstallationMarks(place);
  if (!settings) {
    await requireNoMongodb(marks);
    return null;
  }
  const { openMongodb } = await import("@toolyard/mongodb");
  const { requireOneInstallation } = await import("./one-installation.ts");
  const mongodb = await openMongodb({ settings, name: "stores", logger: place.logger });
  try {
    const isMarked = await requireOneInstallation({ marks, mongodb });
    return { ...mongodb, health: async () => withMark(await mongodb.health(), isMarked) };
  } catch (error) {
    await mongodb.close();
    throw error;
  }
}

/** One that was emptied, or is another one now, answers as well as before. */
async function withMark(found: ServiceHealth, isMarked: () => Promise<boolean>): Promise<ServiceHealth> {
  if (found.status !== "healthy" || (await isMarked().catch(() => true))) return found;
  const detail =
    "It has lost the mark of this installation: it was emptied, or is another one. Stop Toolyard before more is written to it, and see docs/mongodb.md.";
  return { ...found, status: "unhealthy", detail };
}
