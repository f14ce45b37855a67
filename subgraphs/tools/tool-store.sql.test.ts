import { createEventLog, createInProcessBus } from "@toolyard/events";
import { onEachDatabase } from "@toolyard/testing/sql-stores.ts";
import { entities, migrationsFolder, toolEventSchema } from "./database.ts";
import { toolStoreContract } from "./tool-store.contract.ts";
import { createSqlToolStore } from "./tool-store.sql.ts";
import type { ToolEventPayload } from "./tool-store.ts";

onEachDatabase((name, open) =>
  toolStoreContract(name, async () => {
    const bus = createInProcessBus();
    const { opened, close } = await open({ entities, migrationsFolder }, (database) => {
      const events = createEventLog<ToolEventPayload>({ database, schema: toolEventSchema, bus });
      return { store: createSqlToolStore({ database, events }), events };
    });
    return { stores: [opened[0].store, opened[1].store], events: opened[0].events, close };
  }),
);
