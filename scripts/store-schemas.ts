import { existsSync, globSync, mkdirSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import type { DatabaseOptions } from "@toolyard/storage";
import { createSqliteSource } from "@toolyard/storage/sqlite/sqlite-database.ts";
import { readMigrations, type Migration } from "@toolyard/storage/migration.ts";

/** The differences between a store's migrations and its entities. */
export interface SchemaDifference {
  /** The module with the entities, from the root. */
  module: string;
  migrationsFolder: string;
  /** The number of the new migration. */
  number: number;
  /** SQL that migrates from the one to the other. */
  statements: string[];
  /** SQL that leads back. */
  undo: string[];
}

/** A store of the tree. */
export interface StoreSchema {
  /** As its file in DATA_DIR is called. */
  name: string;
  /** The module with the entities, from the root. */
  module: string;
  entities: DatabaseOptions["entities"];
  migrationsFolder: string;
  migrations: Migration[];
}

/** By convention a `database.ts` exports these two where it describes a store. */
interface StoreModule {
  entities?: DatabaseOptions["entities"];
  migrationsFolder?: string;
}

export async function readStores(root: string): Promise<StoreSchema[]> {
  const stores: StoreSchema[] = [];
  for (const module of globSync("{packages,subgraphs}/*/database.ts", { cwd: root }).toSorted()) {
    const { entities, migrationsFolder } = (await import(join(root, module))) as StoreModule;
    if (!entities || migrationsFolder === undefined) continue;
    const migrations = existsSync(migrationsFolder) ? readMigrations(migrationsFolder) : [];
    stores.push({ name: basename(dirname(module)), module, entities, migrationsFolder, migrations });
  }
  return stores;
}

/** Of every store in the tree. */
export async function findSchemaDifferences(root: string): Promise<SchemaDifference[]> {
  const found: SchemaDifference[] = [];
  for (const { module, entities, migrationsFolder, migrations } of await readStores(root)) {
    const source = createSqliteSource({ file: ":memory:", entities, migrations }, true);
    await source.initialize();
    const { upQueries, downQueries } = await source.driver.createSchemaBuilder().log();
    await source.destroy();
    const statements = upQueries.map(({ query }) => query);
    const undo = downQueries.map(({ query }) => query).toReversed();
    if (statements.length > 0)
      found.push({ module, migrationsFolder, number: migrations.length + 1, statements, undo });
  }
  return found;
}

/** Writes a migration for a difference. @returns its files, from the root */
export function writeMigration(root: string, difference: SchemaDifference, name: string): string[] {
  const { migrationsFolder, number, statements, undo } = difference;
  mkdirSync(migrationsFolder, { recursive: true });
  const path = join(migrationsFolder, `${String(number).padStart(4, "0")}-${name}`);
  return (
    [
      ["sql", statements],
      ["down.sql", undo],
    ] as const
  ).map(([ending, each]) => {
    const file = `${path}.${ending}`;
    writeFileSync(file, each.map((statement) => `${statement}\n`).join("--\n"));
    return relative(root, file);
  });
}
