import { onEachDatabase } from "@toolyard/testing/sql-stores.ts";
import { entities, migrationsFolder } from "./database.ts";
import { identityStoreContract } from "./identity-store.contract.ts";
import { createSqlIdentityStore } from "./identity-store.sql.ts";

onEachDatabase((name, open) =>
  identityStoreContract(name, async () => {
    const { opened, close } = await open({ entities, migrationsFolder }, (database) =>
      createSqlIdentityStore({ database }),
    );
    return { stores: opened, close };
  }),
);
