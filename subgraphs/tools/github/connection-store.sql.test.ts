import { onEachDatabase } from "@toolyard/testing/sql-stores.ts";
import { entities, migrationsFolder } from "../database.ts";
import { connectionStoreContract } from "./connection-store.contract.ts";
import { createSqlConnectionStore } from "./connection-store.sql.ts";

onEachDatabase((name, open) =>
  connectionStoreContract(name, async () => {
    const { opened, close } = await open({ entities, migrationsFolder }, createSqlConnectionStore);
    return { stores: opened, close };
  }),
);
