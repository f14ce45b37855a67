import { openStoreDatabase, createStore } from "../engine/reconciler-fixture.ts";
import { routeStoreContract } from "./route-store.contract.ts";
import { createSqlRouteStore } from "./route-store.sql.ts";

routeStoreContract("SQLite", async () => {
  const database = await openStoreDatabase();
  return { routes: createSqlRouteStore(database), store: createStore(database), close: () => database.close() };
});
