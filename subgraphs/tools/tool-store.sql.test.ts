import { createEventLog, createInProcessBus } from "@toolyard/events";
import { describeOnMongodb, ownMongodb } from "@toolyard/testing/mongodb.ts";
import { onEachDatabase, type OpenTwice } from "@toolyard/testing/sql-stores.ts";
import { entities, migrationsFolder, toolEventSchema } from "./database.ts";
import { toolStoreContract, type OpenToolStore } from "./tool-store.contract.ts";
import { createSqlToolStore } from "./tool-store.sql.ts";
import type { ToolEventPayload } from "./tool-store.ts";
import { createMongodbVersionContents } from "./version-contents.mongodb.ts";
import type { VersionContents } from "./version-contents.ts";

async function openStores(
  open: OpenTwice,
  openContents: () => Promise<VersionContents | null>,
): Promise<OpenToolStore> {
  const bus = createInProcessBus();
  const { opened, close } = await open({ entities, migrationsFolder }, async (database) => {
    const events = createEventLog<ToolEventPayload>({ database, schema: toolEventSchema, bus });
    return { store: createSqlToolStore({ database, events, contents: await openContents() }), events };
  });
  return { stores: [opened[0].store, opened[1].store], events: opened[0].events, close };
}

onEachDatabase((name, open) => {
  toolStoreContract(name, () => openStores(open, async () => null));
  describeOnMongodb("with contents of versions in MongoDB", () =>
    toolStoreContract(`${name}, and MongoDB`, async () => {
      const mongodb = ownMongodb();
      const openContents = async () => createMongodbVersionContents(await mongodb.open());
      const { close, ...opened } = await openStores(open, openContents);
      return {
        ...opened,
        async close() {
          await close();
          await mongodb.close();
        },
      };
    }),
  );
});
