import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { messageOf } from "@toolyard/service-kit";
import { openDatabase, readMigrations, type Database, type DatabaseOptions } from "@toolyard/storage";
import { createMysqlSource } from "@toolyard/storage/mysql/mysql-database.ts";
import { createScratchDatabase } from "@toolyard/storage/mysql/scratch-database.ts";
import { createSqliteSource } from "@toolyard/storage/sqlite/sqlite-database.ts";
import mysql from "mysql2/promise";
import { describe } from "vitest";

interface Tables {
  entities: DatabaseOptions["entities"];
  /** Without it, the tables are made of the entities. */
  migrationsFolder?: string;
}

/** Opens an empty database, and what `create` makes of it, as two processes have them; removed by `close`. */
export type OpenTwice = <Opened>(
  tables: Tables,
  create: (database: Database) => Opened | Promise<Opened>,
) => Promise<{ opened: readonly [Opened, Opened]; databases: readonly [Database, Database]; close(): Promise<void> }>;

const mysqlUrl = process.env["TEST_MYSQL_URL"] ?? "";
/** Why tests on MySQL or MariaDB cannot be had; null: they can. The user may make databases. */
export const noMysql = await whyUnreached(mysqlUrl);

async function whyUnreached(url: string): Promise<string | null> {
  if (url === "") return "TEST_MYSQL_URL is not set";
  try {
    const server = await mysql.createConnection(url);
    // Each store that tests have open takes a dozen.
    await server.query("SET GLOBAL max_connections = 2000");
    await server.end();
    return null;
  } catch (error) {
    return `TEST_MYSQL_URL cannot be used: ${messageOf(error)}`;
  }
}

/** Tests that are about a server at TEST_MYSQL_URL; skipped with the reason where it cannot be reached. */
export function describeOnMysql(name: string, tests: (serverUrl: string) => void): void {
  if (noMysql === null) describe(`${name}, on MySQL`, () => tests(mysqlUrl));
  else describe.skip(`${name}, on MySQL (skipped: ${noMysql})`, () => tests(mysqlUrl));
}

/** Holds each relational database to a contract: SQLite, and the server at TEST_MYSQL_URL, skipped with the reason where it cannot be reached. */
export function onEachDatabase(contract: (name: string, open: OpenTwice) => void): void {
  contract("SQLite", openSqliteTwice);
  if (noMysql === null) contract("MySQL", openMysqlTwice);
  else describe.skip(`on MySQL (skipped: ${noMysql})`, () => contract("MySQL", openMysqlTwice));
}

export const openSqliteTwice: OpenTwice = async ({ entities, migrationsFolder }, create) => {
  const folder = await mkdtemp(join(tmpdir(), "toolyard-store-"));
  const statements = async () => {
    const source = await createSqliteSource({ file: ":memory:", entities, migrations: [] }, false).initialize();
    return tablesOf(source);
  };
  const migrations = migrationsFolder
    ? readMigrations(migrationsFolder)
    : [{ name: "0001-initial", statements: await statements() }];
  const options = { file: join(folder, "store.sqlite"), entities, migrations };
  return openTwice(options, create, () => rm(folder, { recursive: true, force: true }));
};

const openMysqlTwice: OpenTwice = async ({ entities, migrationsFolder }, create) => {
  const { url, drop } = await createScratchDatabase(mysqlUrl);
  const options = { url, name: "test", entities };
  const statements = async () => tablesOf(await createMysqlSource({ ...options, migrations: [] }).initialize());
  const migrations = migrationsFolder
    ? readMigrations(migrationsFolder, "mysql")
    : [{ name: "0001-initial", statements: await statements() }];
  return openTwice({ ...options, migrations }, create, drop);
};

/** The SQL that makes the entities' tables. */
async function tablesOf(source: ReturnType<typeof createMysqlSource>): Promise<string[]> {
  const { upQueries } = await source.driver.createSchemaBuilder().log();
  await source.destroy();
  return upQueries.map(({ query }) => query);
}

async function openTwice<Opened>(
  options: DatabaseOptions,
  create: (database: Database) => Opened | Promise<Opened>,
  remove: () => Promise<void>,
) {
  const databases = [await openDatabase(options), await openDatabase(options)] as const;
  return {
    databases,
    opened: [await create(databases[0]), await create(databases[1])] as const,
    async close() {
      // A contract may have closed one.
      await Promise.allSettled(databases.map((database) => database.close()));
      await remove();
    },
  };
}
