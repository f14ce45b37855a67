import { onEachDatabase } from "@toolyard/testing/sql-stores.ts";
import { entities, migrationsFolder } from "./database.ts";
import { idempotencyStoreContract } from "./idempotency-store.contract.ts";
import { createMemoryIdempotencyStore } from "./idempotency-store.memory.ts";
import { createSqlIdempotencyStore } from "./idempotency-store.sql.ts";

idempotencyStoreContract("memory", async () => {
  const store = createMemoryIdempotencyStore();
  return { stores: [store, store], close: () => store.close() };
});

onEachDatabase((name, open) =>
  idempotencyStoreContract(name, async () => {
    const { opened, close } = await open({ entities, migrationsFolder }, createSqlIdempotencyStore);
    return { stores: opened, close };
  }),
);
