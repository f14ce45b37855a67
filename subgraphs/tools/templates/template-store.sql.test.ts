import { openOnTwoConnections } from "@toolyard/testing/sqlite-stores.ts";
import { entities, migrationsFolder } from "../database.ts";
import { templateStoreContract } from "./template-store.contract.ts";
import { createSqlTemplateStore } from "./template-store.sql.ts";

templateStoreContract("SQLite", async () => {
  const { opened, close } = await openOnTwoConnections({ entities, migrationsFolder }, (database) =>
    createSqlTemplateStore({ database }),
  );
  return { stores: [opened[0], opened[1]], close };
});
