import { createMemoryCache, createRedisCache, type Cache } from "@toolyard/cache";
import type { WakeUpBus } from "@toolyard/events";
import { createScheduler, type Scheduler } from "@toolyard/scheduler";
import { createTokenBuckets, sharedTokenBuckets, type CreateTokenBuckets } from "@toolyard/rate-limits";
import type { RedisConnection } from "@toolyard/redis";
import type { MongodbConnection } from "@toolyard/mongodb";
import type { Gauge, Logger } from "@toolyard/service-kit";
import type { DatabaseSettings, MongodbSettings } from "@toolyard/service-kit/process/process-config.ts";
import { openStore, type Database, type StoreTables } from "@toolyard/storage";
import { openTaskQueue, type TaskQueue } from "@toolyard/tasks";
import { z } from "zod";

/** Where one process keeps its data: a port, with an adapter for each kind of server. The subgraphs know only this. */
export interface Stores {
  /** The name of a store in `/health`: `sqlite`, `mysql`. */
  readonly kind: string;
  readonly bus: WakeUpBus;
  readonly scheduler: Scheduler;
  /** How long events, and records of what has ended, are kept. */
  readonly retentionMs: number;
  /** Of all processes on the same Redis, or of this one. */
  readonly createTokenBuckets: CreateTokenBuckets;
  /** Of texts, likewise. The options are of one process. */
  createCache(name: string, options: { maxEntries: number; now: () => number }): Cache<string>;
  /** Opens a subgraph's relational store and migrates it. The caller closes it. */
  openDatabase(tables: StoreTables): Promise<Database>;
  /** The MongoDB for those that can keep their data there, opened when it is first asked for; null: there is none. */
  mongodb(): Promise<MongodbConnection> | null;
  /** The one task queue of this process, opened when it is first asked for. */
  tasks(): Promise<TaskQueue>;
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
  let queue: Promise<TaskQueue> | null = null;
  let mongodb: Promise<MongodbConnection> | null = null;
  const openMongodb = () => (settings ? (mongodb ??= connect(settings, logger)) : null);
  return {
    kind: database ? "mysql" : "sqlite",
    bus,
    scheduler: createScheduler(options),
    retentionMs,
    createTokenBuckets: redis ? sharedTokenBuckets(redis) : createTokenBuckets,
    createCache: (name, own) =>
      redis ? createRedisCache({ redis, name, parse: z.string().parse }) : createMemoryCache(own),
    openDatabase: (tables) => openStore({ dataDir, database, logger }, tables),
    mongodb: openMongodb,
    tasks: () => (queue ??= openTasks()),
    gauges: async () => (await mongodb)?.gauges() ?? [],
    async close() {
      await (await queue)?.close();
      await (await mongodb)?.close();
    },
  };

  async function openTasks(): Promise<TaskQueue> {
    return openTaskQueue({ ...options, database, mongodb: await openMongodb() });
  }
}

/** The driver is loaded where it is used. */
async function connect(settings: MongodbSettings, logger: Logger): Promise<MongodbConnection> {
  const { openMongodb } = await import("@toolyard/mongodb");
  return openMongodb({ settings, name: "stores", logger });
}
