import LibsqlDatabase from "libsql";
import { DataSource, type EntityManager, type EntitySchema } from "typeorm";
import { createMigrations, type Migration } from "./migration.ts";

/**
 * One subgraph's relational store. Reads go by a connection of their own and see only what is committed; writes go one
 * transaction at a time, since TypeORM shares one SQLite connection and two transactions on it would interleave.
 */
export interface Database {
  readonly read: EntityManager;
  /** Runs `work` in a write transaction; rolled back when it throws. Do no slow or outside work in it: writers wait. */
  transaction<Result>(work: (tx: Transaction) => Promise<Result>): Promise<Result>;
  /** Throws when the store does not answer. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

export interface Transaction {
  readonly manager: EntityManager;
  /** Runs once the transaction is committed, never when it is rolled back: for waking those who wait for the change. */
  afterCommit(run: () => void): void;
}

export interface DatabaseOptions {
  /** Path of the SQLite file, or ":memory:" for tests. Made, with its folder, when missing. */
  file: string;
  entities: EntitySchema[];
  /** In order; those not yet run are run at opening, each in a transaction. */
  migrations: Migration[];
}

/** Milliseconds that one process waits for another's write transaction on the same file. */
const BUSY_TIMEOUT_MS = 5_000;

export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  const writer = createDataSource(options, true);
  await writer.initialize();
  // A second connection to ":memory:" would be another database.
  const reader = options.file === ":memory:" ? writer : createDataSource(options, false);
  if (reader !== writer) await reader.initialize();

  let lastWrite: Promise<unknown> = Promise.resolve();
  let closed = false;

  const transaction: Database["transaction"] = (work) => {
    const run = async () => {
      if (closed) throw new Error("The database is closed.");
      const committed: (() => void)[] = [];
      const result = await writer.transaction((manager) =>
        work({ manager, afterCommit: (callback) => committed.push(callback) }),
      );
      for (const callback of committed) callback();
      return result;
    };
    const result = lastWrite.then(run, run);
    lastWrite = result.catch(() => undefined);
    return result;
  };

  return {
    read: reader.manager,
    transaction,
    async ping() {
      await reader.query("SELECT 1");
    },
    async close() {
      closed = true;
      await lastWrite;
      if (reader !== writer) await reader.destroy();
      await writer.destroy();
    },
  };
}

/** A data source on a SQLite file; exported for the migration generator. Runs migrations only as the writer. */
export function createDataSource({ file, entities, migrations }: DatabaseOptions, writer: boolean): DataSource {
  return new DataSource({
    type: "better-sqlite3",
    driver: LibsqlDriver,
    database: file,
    entities,
    migrations: createMigrations(migrations),
    migrationsRun: writer,
    migrationsTransactionMode: "each",
    migrationsTableName: "migrations",
    enableWAL: true,
    timeout: BUSY_TIMEOUT_MS,
    // What is acknowledged survives a power cut.
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
