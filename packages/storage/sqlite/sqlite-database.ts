import LibsqlDatabase from "libsql";
import { mkdir, open } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { createSerialQueue, messageOf, systemCodeOf, preconditionFailed } from "@toolyard/service-kit";
import { DataSource, type EntityManager, type EntitySchema } from "typeorm";
import { createMigrations, type Migration } from "./migration.ts";
import { noteVersion, refuseNewer } from "./newer-database.ts";
import { statementReporter } from "./observed-statements.ts";

/**
 * One subgraph's relational store. Reads go by a connection of their own and see only what is committed; writes go one
 * transaction at a time, since TypeORM shares one SQLite connection and two transactions on it would interleave.
 */
export interface Database {
  /** Path of the SQLite file, or ":memory:". */
  readonly file: string;
  readonly read: EntityManager;
  /** Runs `work` in a write transaction; rolled back when it throws. Do no slow or external work in it: writers wait. */
  transaction<Result>(work: (tx: Transaction) => Promise<Result>): Promise<Result>;
  /** Throws when the store does not answer. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

export interface Transaction {
  readonly manager: EntityManager;
  /** Runs once the transaction is committed, never when it is rolled back: wakes those that wait for the change. */
  afterCommit(run: () => void): void;
}

export interface DatabaseOptions {
  /** Path of the SQLite file, or ":memory:" for tests. Made, with its folder, when missing. */
  file: string;
  entities: EntitySchema[];
  /** In order; those not yet run are run at opening, each in a transaction. */
  migrations: Migration[];
  /** False runs none, and refuses a store that is behind them: for tools that only read while other processes run on it. */
  migrate?: boolean;
}

/** Milliseconds that a write waits for another process's write transaction on the same file. */
const BUSY_TIMEOUT_MS = 10_000;

/** @throws ToolyardError PRECONDITION_FAILED when a newer Toolyard migrated it; nothing is changed then. */
export async function openDatabase(options: DatabaseOptions): Promise<Database> {
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
  let closed = false;

  const transaction: Database["transaction"] = (work) =>
    writes.run(async () => {
      if (closed) throw new Error("The database is closed.");
      const committed: (() => void)[] = [];
      const result = await whenUnlocked((begun) =>
        writer.transaction((manager) => {
          begun();
          return work({ manager, afterCommit: (callback) => committed.push(callback) });
        }),
      );
      for (const callback of committed) callback();
      return result;
    });

  return {
    file: options.file,
    read: reader.manager,
    transaction,
    async ping() {
      await reader.query("SELECT 1");
    },
    async close() {
      closed = true;
      await writes.done();
      if (reader !== writer) await reader.destroy();
      // The file alone then holds everything, in case somebody copies it without the journal beside it.
      if (options.file !== ":memory:") {
        // On a full disk, data stays in the journal, where the next opening finds it.
        await writer.query("PRAGMA wal_checkpoint(TRUNCATE)").catch((error: unknown) => {
          if (!systemCodeOf(error)?.startsWith("SQLITE_")) throw error;
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

async function openWriter(options: DatabaseOptions): Promise<DataSource> {
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

/** Of the ways in which a file can be of no use, those that an operator can do something about; https://sqlite.org/rescode.html */
function whyUnusable(error: unknown): string | null {
  const code = systemCodeOf(error) ?? "";
  if (/^(SQLITE_FULL|ENOSPC|EDQUOT)/.test(code)) return "there is no space left on its disk; make room";
  if (/^(SQLITE_READONLY|SQLITE_CANTOPEN|SQLITE_PERM|EACCES|EPERM|EROFS|EISDIR)/.test(code))
    return `the user that Toolyard runs as (${process.getuid?.() ?? "this one"}) may not write to it; give DATA_DIR and all in it to that user`;
  if (/^(SQLITE_NOTADB|SQLITE_CORRUPT)/.test(code)) return "it is damaged or no database; restore it from a backup";
  if (code.startsWith("SQLITE_IOERR")) return `its disk has a fault, or is full (${code})`;
  return null;
}

/** Keeps the data private; SQLite gives its files beside the database the same mode. */
async function createPrivately(file: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const handle = await open(file, "a", 0o600);
  await handle.close();
}

/** Opens a connection; as the writer, runs the migrations. */
async function initialize(options: DatabaseOptions, writer: boolean): Promise<DataSource> {
  try {
    return await createDataSource(options, writer).initialize();
  } catch (error) {
    if (!writer) throw error;
    // Two processes that open a new file at once both run its migrations; the one that comes second finds them done.
    await delay(100);
    return createDataSource(options, writer).initialize();
  }
}

/**
 * Runs a transaction, again and again while another process holds the file's write lock. `begun` tells that the
 * lock is held: a failure after that is not retried.
 */
async function whenUnlocked<Result>(transaction: (begun: () => void) => Promise<Result>): Promise<Result> {
  const deadline = Date.now() + BUSY_TIMEOUT_MS;
  for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 50)) {
    let locked = true;
    try {
      return await transaction(() => {
        locked = false;
      });
    } catch (error) {
      if (!locked || !messageOf(error).includes("database is locked") || Date.now() > deadline) throw error;
    }
    await delay(waitMs * (0.5 + Math.random()));
  }
}

/** A data source on a SQLite file; exported for the migration generator. Runs migrations only as the writer. */
export function createDataSource(options: DatabaseOptions, writer: boolean): DataSource {
  const { file, entities, migrations, migrate = true } = options;
  return new DataSource({
    type: "better-sqlite3",
    driver: LibsqlDriver,
    database: file,
    entities,
    migrations: createMigrations(migrations),
    migrationsRun: writer && migrate,
    migrationsTransactionMode: "each",
    migrationsTableName: "migrations",
    enableWAL: true,
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
