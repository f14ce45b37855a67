import { createInProcessBus } from "@toolyard/events";
import { describeOnMongodb, ownMongodb } from "@toolyard/testing/mongodb.ts";
import { onEachDatabase, type OpenTwice } from "@toolyard/testing/sql-stores.ts";
import { entities, migrationsFolder } from "./database.ts";
import { taskStoreContract, type OpenTaskStore } from "./task-store.contract.ts";
import { createMongodbTaskResults } from "./task-results.mongodb.ts";
import type { TaskResults } from "./task-results.ts";
import { createSqlTaskStore } from "./task-store.sql.ts";

async function openStores(
  open: OpenTwice,
  now: () => number,
  openResults: () => Promise<TaskResults | null>,
): Promise<OpenTaskStore> {
  const bus = createInProcessBus();
  const { opened, close } = await open({ entities, migrationsFolder }, async (database) =>
    createSqlTaskStore({ database, bus, results: await openResults(), now }),
  );
  return { stores: opened, close };
}

onEachDatabase((name, open) => {
  taskStoreContract(name, (now) => openStores(open, now, async () => null));
  describeOnMongodb("with results in MongoDB", () =>
    taskStoreContract(`${name}, and MongoDB`, async (now) => {
      const mongodb = ownMongodb();
      const { stores, close } = await openStores(open, now, async () => createMongodbTaskResults(await mongodb.open()));
      return {
        stores,
        async close() {
          await close();
          await mongodb.close();
        },
      };
    }),
  );
});
