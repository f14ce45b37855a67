import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openDatabase, readMigrations, type Database, type DatabaseOptions } from "@toolyard/storage";

/** What `create` makes of a database, as two processes have it open: an empty one, removed by `close`. */
export async function openOnTwoConnections<Opened>(
  tables: { entities: DatabaseOptions["entities"]; migrationsFolder: string },
  create: (database: Database) => Opened | Promise<Opened>,
): Promise<{ opened: readonly [Opened, Opened]; close(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "toolyard-store-"));
  const { entities, migrationsFolder } = tables;
  const options = { file: join(folder, "store.sqlite"), entities, migrations: readMigrations(migrationsFolder) };
  const databases = [await openDatabase(options), await openDatabase(options)] as const;
  return {
    opened: [await create(databases[0]), await create(databases[1])],
    async close() {
      for (const database of databases) await database.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
