import { createLogger } from "@toolyard/service-kit";
import { openSqliteTwice } from "@toolyard/testing/sql-stores.ts";
import { entities, migrationsFolder } from "./database.ts";
import { documentStoreContract } from "./document-store.contract.ts";
import { createSqlDocumentStore } from "./document-store.sql.ts";

const logger = createLogger({ level: "silent", name: "test" });

documentStoreContract("SQLite", async () => {
  const { opened, close } = await openSqliteTwice({ entities, migrationsFolder }, (database) =>
    createSqlDocumentStore({ database, logger }),
  );
  return {
    stores: opened,
    async close() {
      for (const store of opened) await store.close();
      await close();
    },
  };
});
