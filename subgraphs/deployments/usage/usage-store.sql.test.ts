import { openOnTwoConnections } from "@toolyard/testing/sqlite-stores.ts";
import { entities, migrationsFolder } from "../database.ts";
import { usageStoreContract } from "./usage-store.contract.ts";
import { createSqlUsageStore } from "./usage-store.sql.ts";

usageStoreContract("SQLite", async () => {
  const { opened, close } = await openOnTwoConnections({ entities, migrationsFolder }, createSqlUsageStore);
  return { stores: opened, close };
});
