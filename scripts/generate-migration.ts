/**
 * Writes the SQL that takes a store from what its migrations make to what its entities say.
 *
 *   node scripts/generate-migration.ts subgraphs/tools/database.ts add-tags
 *
 * The module exports `entities` and `migrationsFolder` (a path). Nothing is written when there is no difference.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { EntitySchema } from "typeorm";
import { createDataSource } from "../packages/storage/database.ts";
import { readMigrations } from "../packages/storage/migration.ts";

const [modulePath, name] = process.argv.slice(2);
if (!modulePath || !name) throw new Error("usage: node scripts/generate-migration.ts MODULE NAME");
// The two exports are this script's convention with database.ts files.
const { entities, migrationsFolder } = (await import(resolve(modulePath))) as {
  entities: EntitySchema[];
  migrationsFolder: string;
};
mkdirSync(migrationsFolder, { recursive: true });
const migrations = readMigrations(migrationsFolder);
const source = createDataSource({ file: ":memory:", entities, migrations }, true);
await source.initialize();
const { upQueries } = await source.driver.createSchemaBuilder().log();
await source.destroy();
if (upQueries.length === 0) {
  process.stdout.write("The migrations make what the entities say.\n");
} else {
  const file = join(migrationsFolder, `${String(migrations.length + 1).padStart(4, "0")}-${name}.sql`);
  writeFileSync(file, upQueries.map(({ query }) => `${query}\n`).join("--\n"));
  process.stdout.write(`${file}\n`);
}
