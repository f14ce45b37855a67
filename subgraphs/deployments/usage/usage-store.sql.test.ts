import { onEachDatabase } from "@toolyard/testing/sql-stores.ts";
import { entities, migrationsFolder } from "../database.ts";
import { usageStoreContract } from "./usage-store.contract.ts";
import { createSqlUsageStore } from "./usage-store.sql.ts";

onEachDatabase((name, open) =>
  usageStoreContract(name, async () => {
    const { opened, close } = await open({ entities, migrationsFolder }, createSqlUsageStore);
    return { stores: opened, close };
  }),
);
