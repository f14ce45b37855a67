import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { idempotencyStoreContract } from "./idempotency-store.contract.ts";
import { createMemoryIdempotencyStore } from "./idempotency-store.memory.ts";
import { openSqlIdempotencyStore } from "./idempotency-store.sql.ts";

idempotencyStoreContract("memory", async () => {
  const store = createMemoryIdempotencyStore();
  return { stores: [store, store], close: () => store.close() };
});

idempotencyStoreContract("SQLite", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "toolyard-idempotency-"));
  const stores = [await openSqlIdempotencyStore({ dataDir }), await openSqlIdempotencyStore({ dataDir })] as const;
  return {
    stores,
    async close() {
      // The contract may have closed one.
      await Promise.allSettled(stores.map((store) => store.close()));
      await rm(dataDir, { recursive: true, force: true });
    },
  };
});
