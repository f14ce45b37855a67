import { openOnTwoConnections } from "@toolyard/testing/sqlite-stores.ts";
import { entities, migrationsFolder } from "../database.ts";
import { connectionStoreContract } from "./connection-store.contract.ts";
import { createSqlConnectionStore } from "./connection-store.sql.ts";

connectionStoreContract("SQLite", async () => {
  const { opened, close } = await openOnTwoConnections({ entities, migrationsFolder }, createSqlConnectionStore);
  return { stores: opened, close };
});
