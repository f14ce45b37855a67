import { openOnTwoConnections } from "@toolyard/testing/sqlite-stores.ts";
import { entities, migrationsFolder } from "../../database.ts";
import { templateRepositoryContract } from "./template-repository.contract.ts";
import { createSqlTemplateRepositoryStore } from "./template-repository.sql.ts";

templateRepositoryContract("SQLite", async () => {
  const { opened, close } = await openOnTwoConnections({ entities, migrationsFolder }, (database) =>
    createSqlTemplateRepositoryStore({ database }),
  );
  return { stores: [opened[0], opened[1]], close };
});
