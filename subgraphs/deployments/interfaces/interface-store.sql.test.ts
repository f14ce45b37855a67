import { onEachDatabase } from "@toolyard/testing/sql-stores.ts";
import { entities, migrationsFolder } from "../database.ts";
import { createStore } from "../engine/reconciler-fixture.ts";
import { interfaceStoreContract } from "./interface-store.contract.ts";
import { createSqlInterfaceStore } from "./interface-store.sql.ts";

onEachDatabase((name, open) =>
  interfaceStoreContract(name, async () => {
    const { databases, opened, close } = await open({ entities, migrationsFolder }, createSqlInterfaceStore);
    return { interfaces: opened[0], stores: [createStore(databases[0]), createStore(databases[1])], close };
  }),
);
