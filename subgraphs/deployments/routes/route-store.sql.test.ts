import { onEachDatabase } from "@toolyard/testing/sql-stores.ts";
import { entities, migrationsFolder } from "../database.ts";
import { createStore } from "../engine/reconciler-fixture.ts";
import { routeStoreContract } from "./route-store.contract.ts";
import { createSqlRouteStore } from "./route-store.sql.ts";

onEachDatabase((name, open) =>
  routeStoreContract(name, async () => {
    const { databases, opened, close } = await open({ entities, migrationsFolder }, createSqlRouteStore);
    return { routes: opened[0], store: createStore(databases[0]), elsewhere: createStore(databases[1]), close };
  }),
);
