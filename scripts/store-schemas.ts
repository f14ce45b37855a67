import { existsSync, globSync, mkdirSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import type { EntitySchema } from "typeorm";
import { createDataSource } from "@toolyard/storage/database.ts";
import { readMigrations } from "@toolyard/storage/migration.ts";

/** The differences between a store's migrations and its entities. */
export interface SchemaDifference {
  /** The module with the entities, from the root. */
  module: string;
  migrationsFolder: string;
  /** The number of the new migration. */
  number: number;
  /** SQL that migrates from the one to the other. */
  statements: string[];
}

/** By convention a `database.ts` exports these two where it describes a store. */
interface StoreModule {
  entities?: EntitySchema[];
  migrationsFolder?: string;
}

/** Of every store in the tree. */
export async function findSchemaDifferences(root: string): Promise<SchemaDifference[]> {
  const found: SchemaDifference[] = [];
  for (const file of globSync("{packages,subgraphs}/*/database.ts", { cwd: root }).toSorted()) {
    const { entities, migrationsFolder } = (await import(join(root, file))) as StoreModule;
    if (!entities || migrationsFolder === undefined) continue;
    const migrations = existsSync(migrationsFolder) ? readMigrations(migrationsFolder) : [];
    const source = createDataSource({ file: ":memory:", entities, migrations }, true);
    await source.initialize();
    const { upQueries } = await source.driver.createSchemaBuilder().log();
    await source.destroy();
    const statements = upQueries.map(({ query }) => query);
    if (statements.length > 0)
      found.push({ module: file, migrationsFolder, number: migrations.length + 1, statements });
  }
  return found;
}

/** Writes a migration for a difference. @returns its file, from the root */
export function writeMigration(root: string, difference: SchemaDifference, name: string): string {
  const { migrationsFolder, number, statements } = difference;
  mkdirSync(migrationsFolder, { recursive: true });
  const file = join(migrationsFolder, `${String(number).padStart(4, "0")}-${name}.sql`);
  writeFileSync(file, statements.map((statement) => `${statement}\n`).join("--\n"));
  return relative(root, file);
}
