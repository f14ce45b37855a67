import { onEachDatabase } from "@toolyard/testing/sql-stores.ts";
import { entities, migrationsFolder } from "../database.ts";
import { createStore, insertDeployment } from "../engine/reconciler-fixture.ts";
import { hostStoreContract } from "./host-store.contract.ts";
import { createSqlHostStore } from "./host-store.sql.ts";

onEachDatabase((name, open) =>
  hostStoreContract(name, async () => {
    const { databases, opened, close } = await open({ entities, migrationsFolder }, (database) =>
      createSqlHostStore(database),
    );
    return {
      hosts: opened,
      transaction: (work) => databases[0].transaction(work),
      addReplica: async (hostId) => void (await insertDeployment(createStore(databases[0]), "tool", 1, 9_000, hostId)),
      close,
    };
  }),
);
