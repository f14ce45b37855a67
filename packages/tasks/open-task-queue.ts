import type { WakeUpBus } from "@toolyard/events";
import type { Logger } from "@toolyard/service-kit";
import { createTaskQueue } from "./task-queue.embedded.ts";
import type { TaskQueue } from "./task-queue.ts";
import { createTaskStore } from "./task-store.sql.ts";

/**
 * The embedded queue on `${dataDir}/tasks.sqlite`, with its store, which closes with it. One for each process: subgraphs that share a
 * process share it.
 */
export async function openTaskQueue(options: {
  dataDir: string;
  bus: WakeUpBus;
  logger: Logger;
  now?: () => number;
}): Promise<TaskQueue> {
  const store = await createTaskStore(options);
  const queue = createTaskQueue({ ...options, store });
  return {
    ...queue,
    async close() {
      await queue.close();
      await store.close();
    },
  };
}
