import { createInProcessBus } from "@toolyard/events";
import { onEachDatabase } from "@toolyard/testing/sql-stores.ts";
import { entities, migrationsFolder } from "./database.ts";
import { taskStoreContract } from "./task-store.contract.ts";
import { createSqlTaskStore } from "./task-store.sql.ts";

onEachDatabase((name, open) =>
  taskStoreContract(name, async (now) => {
    const bus = createInProcessBus();
    const { opened, close } = await open({ entities, migrationsFolder }, (database) =>
      createSqlTaskStore({ database, bus, now }),
    );
    return { stores: opened, close };
  }),
);
