import { existsSync } from "node:fs";
import { basename } from "node:path";
import { preconditionFailed } from "@toolyard/service-kit";
import LibsqlDatabase from "libsql";
import type { SqliteOptions } from "../database.ts";
import { databaseFailureOf } from "../failures.ts";
import { nameOfMigration } from "../migration.ts";
import { refuseNewer } from "./newer-database.ts";
import { createSqliteSource } from "./sqlite-database.ts";

/** The names of the migrations that were run on a file, in order; none where there is no file. */
export function migrationsRun(file: string): string[] {
  if (!existsSync(file)) return [];
  const database = new LibsqlDatabase(file, { readonly: true });
  try {
    const isKept = database.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'migrations'").get();
    if (isKept === undefined) return [];
    // TypeORM's own table.
    const rows = database.prepare('SELECT "name" FROM "migrations" ORDER BY "id"').all() as { name: string }[];
    return rows.map(({ name }) => nameOfMigration(name));
  } finally {
    database.close();
  }
}

/** The tables of a file that have rows, which undoing its first migration would lose. */
export function tablesWithRows(file: string): string[] {
  const database = new LibsqlDatabase(file, { readonly: true });
  try {
    const tables = database
      .prepare(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'migrations'",
      )
      .all() as { name: string }[];
    return tables
      .map(({ name }) => name)
      .filter((name) => !name.endsWith("_counter"))
      .filter((name) => database.prepare(`SELECT 1 FROM "${name}" LIMIT 1`).get() !== undefined);
  } finally {
    database.close();
  }
}

/** @throws ToolyardError PRECONDITION_FAILED when another process has the file open */
export function refuseOpened(file: string): void {
  if (!existsSync(file)) return;
  const database = new LibsqlDatabase(file);
  try {
    // A file leaves this mode only while nobody else is connected (https://sqlite.org/wal.html#persistence_of_wal_mode); opening it brings it back.
    database.pragma("busy_timeout = 0");
    database.exec("PRAGMA journal_mode = DELETE");
    const [mode] = database.prepare("PRAGMA journal_mode").all() as { journal_mode: string }[];
    if (mode?.journal_mode === "wal") throw inUse(file);
  } catch (error) {
    throw databaseFailureOf(error) === "conflict" ? inUse(file, error) : error;
  } finally {
    database.close();
  }
}

function inUse(file: string, cause?: unknown): Error {
  return preconditionFailed("data-directory", `${file} is in use by another process: stop Toolyard first.`, cause);
}

/**
 * Undoes the latest migration of a file, in one transaction.
 * @throws ToolyardError PRECONDITION_FAILED when it has no way back, or a newer Toolyard made it
 */
export async function undoLastMigration(options: SqliteOptions): Promise<void> {
  const { file, migrations } = options;
  refuseNewer(options);
  const last = migrationsRun(file).at(-1);
  if (migrations.find(({ name }) => name === last)?.undo === null)
    throw preconditionFailed("migration", `${last} of ${basename(file)} has no way back: restore a backup instead.`);
  const source = await createSqliteSource({ ...options, migrate: false }, false).initialize();
  try {
    await source.undoLastMigration({ transaction: "each" });
  } finally {
    await source.destroy();
  }
}
