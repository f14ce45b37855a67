import { onEachDatabase } from "@toolyard/testing/sql-stores.ts";
import { entities, migrationsFolder } from "../../database.ts";
import { templateRepositoryContract } from "./template-repository.contract.ts";
import { createSqlTemplateRepositoryStore } from "./template-repository.sql.ts";

onEachDatabase((name, open) =>
  templateRepositoryContract(name, async () => {
    const { opened, close } = await open({ entities, migrationsFolder }, (database) =>
      createSqlTemplateRepositoryStore({ database }),
    );
    return { stores: [opened[0], opened[1]], close };
  }),
);
