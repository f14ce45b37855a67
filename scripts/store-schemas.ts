import { existsSync, globSync, mkdirSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import type { DatabaseOptions, StoreTables } from "@toolyard/storage";
import type { MysqlOptions } from "@toolyard/storage/database.ts";
import { createMysqlSource } from "@toolyard/storage/mysql/mysql-database.ts";
import { createScratchDatabase } from "@toolyard/storage/mysql/scratch-database.ts";
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
export interface StoreSchema extends StoreTables {
  /** The module with the entities, from the root. */
  module: string;
  migrations: Migration[];
  /** Null where no MySQL keeps it. */
  mysqlMigrations: Migration[] | null;
}

/** By convention a `database.ts` exports these where it describes a store. */
interface StoreModule {
  entities?: DatabaseOptions["entities"];
  migrationsFolder?: string;
  /** SQLite alone keeps it: other servers have another kind of store for it. */
  isEmbeddedOnly?: boolean;
}

export async function readStores(root: string): Promise<StoreSchema[]> {
  const stores: StoreSchema[] = [];
  for (const module of globSync("{packages,subgraphs}/*/database.ts", { cwd: root }).toSorted()) {
    const { entities, migrationsFolder, isEmbeddedOnly = false } = (await import(join(root, module))) as StoreModule;
    if (!entities || migrationsFolder === undefined) continue;
    const read = (dialect: "sqlite" | "mysql") =>
      existsSync(dialect === "sqlite" ? migrationsFolder : join(migrationsFolder, dialect))
        ? readMigrations(migrationsFolder, dialect)
        : [];
    stores.push({
      name: basename(dirname(module)),
      module,
      entities,
      migrationsFolder,
      isEmbeddedOnly,
      migrations: read("sqlite"),
      mysqlMigrations: isEmbeddedOnly ? null : read("mysql"),
    });
  }
  return stores;
}

/** Of every store in the tree. @param mysqlUrl A server where databases can be made: without it, MySQL's migrations are not compared. */
export async function findSchemaDifferences(root: string, mysqlUrl?: string): Promise<SchemaDifference[]> {
  const found: SchemaDifference[] = [];
  for (const { name, module, entities, migrationsFolder, migrations, mysqlMigrations } of await readStores(root)) {
    const own = await differenceOf(createSqliteSource({ file: ":memory:", entities, migrations }, true));
    const number = migrations.length + (own.statements.length > 0 ? 1 : 0);
    if (own.statements.length > 0) found.push({ module, migrationsFolder, number, ...own });
    if (mysqlUrl === undefined || mysqlMigrations === null) continue;
    const onServer = await mysqlDifferenceOf(mysqlUrl, { name, entities, migrations: mysqlMigrations });
    if (onServer.statements.length > 0)
      found.push({ module, migrationsFolder: join(migrationsFolder, "mysql"), number, ...onServer });
  }
  return found;
}

async function differenceOf(source: ReturnType<typeof createSqliteSource>) {
  if (!source.isInitialized) await source.initialize();
  const { upQueries, downQueries } = await source.driver.createSchemaBuilder().log();
  await source.destroy();
  return {
    statements: upQueries.map(({ query }) => query),
    undo: downQueries.map(({ query }) => query).toReversed(),
  };
}

async function mysqlDifferenceOf(serverUrl: string, tables: Omit<MysqlOptions, "url">) {
  const { url, type, drop } = await createScratchDatabase(serverUrl);
  try {
    const source = await createMysqlSource({ ...tables, url }, { type }).initialize();
    await source.runMigrations({ transaction: "each" });
    return await differenceOf(source);
  } finally {
    await drop();
  }
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
