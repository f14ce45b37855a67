import { createEventLog, createInProcessBus } from "@toolyard/events";
import { openOnTwoConnections } from "@toolyard/testing/sqlite-stores.ts";
import { entities, migrationsFolder, toolEventSchema } from "./database.ts";
import { toolStoreContract } from "./tool-store.contract.ts";
import { createSqlToolStore } from "./tool-store.sql.ts";
import type { ToolEventPayload } from "./tool-store.ts";

toolStoreContract("SQLite", async () => {
  const bus = createInProcessBus();
  const { opened, close } = await openOnTwoConnections({ entities, migrationsFolder }, (database) => {
    const events = createEventLog<ToolEventPayload>({ database, schema: toolEventSchema, bus });
    return { store: createSqlToolStore({ database, events }), events };
  });
  return { stores: [opened[0].store, opened[1].store], events: opened[0].events, close };
});
