import type { WakeUpBus } from "@toolyard/events";
import type { MongodbConnection } from "@toolyard/mongodb";
import type { Logger } from "@toolyard/service-kit";
import type { DatabaseSettings } from "@toolyard/service-kit/process/process-config.ts";
import type { RedisConnection } from "@toolyard/redis";
import { createBullDispatcher } from "./task-dispatcher.bullmq.ts";
import { createTaskQueue } from "./task-queue.embedded.ts";
import type { TaskResults } from "./task-results.ts";
import type { TaskQueue } from "./task-queue.ts";
import { createTaskStore } from "./task-store.sql.ts";

/**
 * The queue on the store of tasks, which closes with it; where there is a Redis, BullMQ hands the tasks out. One for
 * each process: subgraphs that share a process share it. Results are kept in MongoDB, where there is one.
 */
export async function openTaskQueue(options: {
  dataDir: string;
  database?: DatabaseSettings | null;
  redis?: RedisConnection | null;
  mongodb?: MongodbConnection | null;
  bus: WakeUpBus;
  logger: Logger;
  now?: () => number;
}): Promise<TaskQueue> {
  const { redis, mongodb } = options;
  const store = await createTaskStore({ ...options, results: mongodb ? await openResults(mongodb) : null });
  const queue = createTaskQueue({ ...options, store, ...(redis && { dispatcher: createBullDispatcher({ redis }) }) });
  return {
    ...queue,
    async close() {
      await queue.close();
      await store.close();
    },
  };
}

/** Loaded only where it is used. */
async function openResults(mongodb: MongodbConnection): Promise<TaskResults> {
  const { createMongodbTaskResults } = await import("./task-results.mongodb.ts");
  return createMongodbTaskResults(mongodb);
}
