import LibsqlDatabase from "libsql";
import { mkdir, open } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { createSerialQueue, preconditionFailed, systemCodeOf } from "@toolyard/service-kit";
import { DataSource } from "typeorm";
import { createAvailability, explainErrors } from "../availability.ts";
import type { Database, SqliteOptions } from "../database.ts";
import { databaseFailureOf } from "../failures.ts";
import { createMigrations } from "../migration.ts";
import { statementReporter } from "../observed-statements.ts";
import { noteVersion, refuseNewer, touch } from "./newer-database.ts";

/** Milliseconds that a write waits for another process's write transaction on the same file. */
const BUSY_TIMEOUT_MS = 10_000;

/**
 * A file, by libsql. Reads go by a connection of their own; writes go one transaction at a time, since TypeORM shares one connection and two
 * transactions on it would interleave.
 */
export async function openSqliteDatabase(options: SqliteOptions): Promise<Database> {
  const writer = await openWriter(options);
  if (options.migrate === false && (await writer.showMigrations())) {
    await writer.destroy();
    throw preconditionFailed(
      "database-version",
      `${options.file} is in use by an earlier version of Toolyard: stop it, or run this command in that version.`,
    );
  }
  // libsql waits for a lock synchronously, which would hold up the whole process: the wait is ours instead, below.
  await writer.query("PRAGMA busy_timeout = 0");
  await noteVersion(writer);
  // A second connection to ":memory:" would be another database.
  const reader = options.file === ":memory:" ? writer : await initialize(options, false);
  if (reader !== writer) takeTurns(reader);

  const writes = createSerialQueue();
  const availability = createAvailability({
    name: basename(options.file),
    probes: {
      read: () => reader.query("SELECT 1 FROM sqlite_master LIMIT 1"),
      write: () => write(({ manager }) => touch(manager)),
    },
    logger: options.logger,
  });
  if (reader !== writer) explainErrors(reader, (error) => availability.failed(error, "read"));
  let closed = false;

  const write: Database["transaction"] = (work) =>
    writes.run(async () => {
      if (closed) throw new Error("The database is closed.");
      const committed: (() => void)[] = [];
      const result = await whenUnlocked((begun) =>
        writer.transaction((manager) => {
          begun();
          return work({ manager, afterCommit: (callback) => committed.push(callback) });
        }),
      ).catch((error: unknown) => {
        endTransaction(writer);
        throw availability.failed(error, "write");
      });
      for (const callback of committed) callback();
      return result;
    });

  const transaction: Database["transaction"] = async (work) => {
    const result = await write(work);
    availability.committed();
    return result;
  };

  return {
    file: options.file,
    read: reader.manager,
    transaction,
    readInTurn: (read) => transaction(({ manager }) => read(manager)),
    async ping() {
      await reader.query("SELECT 1");
    },
    whyFailing: () => availability.whyFailing(),
    failed: (error) => availability.failed(error, "write"),
    async close() {
      closed = true;
      await writes.done();
      if (reader !== writer) await reader.destroy();
      // The file alone then holds everything, in case somebody copies it without the journal beside it.
      if (options.file !== ":memory:") {
        // On a full disk, data stays in the journal, where the next opening finds it.
        await writer.query("PRAGMA wal_checkpoint(TRUNCATE)").catch((error: unknown) => {
          if (databaseFailureOf(error) === null) throw error;
        });
      }
      await writer.destroy();
    },
  };
}

/**
 * Runs reads one after the other, with turns of the event loop between. Reads within a transaction do not wait: it would hold the write lock
 * for as long as others read.
 */
function takeTurns(reader: DataSource): void {
  // The driver has one for all.
  const runner = reader.createQueryRunner();
  const query = runner.query.bind(runner);
  const reads = createSerialQueue();
  runner.query = ((...statement: Parameters<typeof query>) => reads.run(() => query(...statement))) as typeof query;
}

async function openWriter(options: SqliteOptions): Promise<DataSource> {
  try {
    if (options.file !== ":memory:") {
      await createPrivately(options.file);
      refuseNewer(options);
    }
    return await initialize(options, true);
  } catch (error) {
    const why = whyUnusable(error);
    if (why === null) throw error;
    const message = `${basename(options.file)} in ${dirname(options.file)} (DATA_DIR) cannot be used: ${why}.`;
    throw preconditionFailed("database", message, error);
  }
}

/** Of the ways in which a file can be of no use, those that an operator can do something about. */
function whyUnusable(error: unknown): string | null {
  switch (databaseFailureOf(error)) {
    case "no-space":
      return "there is no space left on its disk; make room";
    case "not-writable":
      return `the user that Toolyard runs as (${process.getuid?.() ?? "this one"}) may not write to it; give DATA_DIR and all in it to that user`;
    case "damaged":
      return "it is damaged or no database; restore it from a backup";
    case "disk-fault":
      return `its disk has a fault, or is full (${systemCodeOf(error)})`;
    case "unique-violation":
    case "conflict":
    case "lost-connection":
    case null:
      return null;
  }
}

/** Keeps the data private; SQLite gives its files beside the database the same mode. */
async function createPrivately(file: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const handle = await open(file, "a", 0o600);
  await handle.close();
}

/** Opens a connection; as the writer, runs the migrations. */
async function initialize(options: SqliteOptions, writer: boolean): Promise<DataSource> {
  const deadline = Date.now() + BUSY_TIMEOUT_MS;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await createSqliteSource(options, writer).initialize();
    } catch (error) {
      // Processes that open a new file at once all run its migrations; those that come second find them done.
      const mayRepeat = writer && (attempt === 1 || (databaseFailureOf(error) === "conflict" && Date.now() < deadline));
      if (!mayRepeat) throw error;
    }
    await delay(100);
  }
}

/**
 * Runs a transaction, again and again while another process holds the file's write lock. `begun` tells that the
 * lock is held: a failure after that is not retried.
 */
async function whenUnlocked<Result>(transaction: (begun: () => void) => Promise<Result>): Promise<Result> {
  const deadline = performance.now() + BUSY_TIMEOUT_MS;
  for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 50)) {
    let locked = true;
    try {
      return await transaction(() => {
        locked = false;
      });
    } catch (error) {
      if (!locked || databaseFailureOf(error) !== "conflict" || performance.now() > deadline) throw error;
    }
    await delay(waitMs * (0.5 + Math.random()));
  }
}

/**
 * On a full disk SQLite rolls back by itself (https://sqlite.org/lang_transaction.html, section 3), and TypeORM's own ROLLBACK then fails: it would
 * take all that comes later for a part of that transaction, and never commit it.
 */
function endTransaction(writer: DataSource): void {
  // The driver has one for all.
  Object.assign(writer.createQueryRunner(), { isTransactionActive: false, transactionDepth: 0 });
}

/** A data source on a SQLite file; exported for the migration generator. Runs migrations only as the writer. */
export function createSqliteSource(options: SqliteOptions, writer: boolean): DataSource {
  const { file, entities, migrations, migrate = true, isAlone = false } = options;
  return new DataSource({
    type: "better-sqlite3",
    driver: LibsqlDriver,
    database: file,
    entities,
    migrations: createMigrations(migrations),
    migrationsRun: writer && migrate,
    migrationsTransactionMode: "each",
    migrationsTableName: "migrations",
    enableWAL: !isAlone,
    logger: statementReporter(file),
    timeout: BUSY_TIMEOUT_MS,
    // Acknowledged writes survive a power cut.
    prepareDatabase: (database: LibsqlDatabase.Database) => {
      database.pragma("synchronous = FULL");
      database.pragma(`busy_timeout = ${BUSY_TIMEOUT_MS}`);
    },
  });
}

/**
 * libsql in the place of better-sqlite3. TypeORM begins transactions deferred, which fails at the first write when another
 * process writes; begun immediate, they wait for their turn instead.
 */
function LibsqlDriver(path: string, options: LibsqlDatabase.Options): LibsqlDatabase.Database {
  const database = new LibsqlDatabase(path, options);
  const prepare = database.prepare.bind(database);
  database.prepare = (sql: string) => prepare(sql === "BEGIN TRANSACTION" ? "BEGIN IMMEDIATE" : sql);
  return database;
}
