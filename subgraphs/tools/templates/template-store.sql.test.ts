import { onEachDatabase } from "@toolyard/testing/sql-stores.ts";
import { entities, migrationsFolder } from "../database.ts";
import { templateStoreContract } from "./template-store.contract.ts";
import { createSqlTemplateStore } from "./template-store.sql.ts";

onEachDatabase((name, open) =>
  templateStoreContract(name, async () => {
    const { opened, close } = await open({ entities, migrationsFolder }, (database) =>
      createSqlTemplateStore({ database }),
    );
    return { stores: [opened[0], opened[1]], close };
  }),
);
