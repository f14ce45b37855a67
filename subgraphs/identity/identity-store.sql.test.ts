import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openDatabase, readMigrations } from "@toolyard/storage";
import { entities, migrationsFolder } from "./database.ts";
import { identityStoreContract } from "./identity-store.contract.ts";
import { createSqlIdentityStore } from "./identity-store.sql.ts";

identityStoreContract("SQLite", async () => {
  const folder = await mkdtemp(join(tmpdir(), "toolyard-identity-store-"));
  const file = join(folder, "identity.sqlite");
  const database = await openDatabase({ file, entities, migrations: readMigrations(migrationsFolder) });
  return {
    store: createSqlIdentityStore({ database }),
    async close() {
      await database.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
});
