import { setTimeout as delay } from "node:timers/promises";
import { preconditionFailed, systemCodeOf } from "@toolyard/service-kit";
import mysql, { type Pool, type PoolConnection, type PoolOptions } from "mysql2";
import { createConnection } from "mysql2/promise";
import { DataSource, EntitySchema, type EntitySchemaColumnOptions, type QueryRunner } from "typeorm";
import { createAvailability, explainErrors } from "../availability.ts";
import type { Database, MysqlOptions } from "../database.ts";
import { databaseFailureOf } from "../failures.ts";
import { createMigrations } from "../migration.ts";
import { statementReporter } from "../observed-statements.ts";
import { connectionOptions, refusalOf } from "./mysql-connection.ts";
import { migrateInSteps } from "./migration-steps.ts";
import { LOCK_ROWS, LOCK_TABLE } from "./mysql-dialect.ts";
import { MIGRATION_LOCK, refuseBesideCommand } from "./server-lock.ts";
import { refuseUnfinishedCopy } from "./unfinished-copy.ts";
import { prepared, requireUsable, type FoundDatabase } from "./usable-database.ts";

const POOL_SIZE = 6;
/** Of a pool that is not in use; the others are closed after a minute. */
const IDLE_CONNECTIONS = 1;
const IDLE_MS = 60_000;
/** No operation of the gateway takes longer. */
const QUERY_MS = 30_000;
/** Others wait for the rows that a transaction has. No code of Toolyard waits in one for anything but the server. */
const IDLE_TRANSACTION_SECONDS = 10;
/** MySQL has no such limit for transactions, so that it is one for connections; the pool closes those that it does not need before. */
const IDLE_CONNECTION_SECONDS = 90;
/** For a server that starts with this process. */
const START_MS = 30_000;
/** How often a transaction is run again that another one was in the way of, or whose connection ended. */
const MAX_ATTEMPTS = 10;
/** After which one whose connection ended is not run again. */
const LOST_MS = 5_000;
/** After which a server that does not answer is told to do so. Others wait for the answer, as in /health. */
const PROBE_MS = 2_000;
/** How long processes that start at once wait for the one that migrates. */
const MIGRATION_WAIT_SECONDS = 120;

/** Of every connection: double quotes are for names, values that do not fit are refused, and a read sees what is committed when it runs. */
const SESSION = [
  "SET SESSION sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
  "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
  // The server's own may have an hour twice.
  "SET SESSION time_zone = '+00:00'",
];

/** Of connections that serve. MariaDB reads the first comment, MySQL 8 the second. https://mariadb.com/docs/server/reference/sql-structure/sql-language-structure/comment-syntax */
const idleLimit = (seconds: number) =>
  `SET SESSION lock_wait_timeout = @@SESSION.lock_wait_timeout /*M!100300 , idle_transaction_timeout = ${seconds} */ /*!80000 , wait_timeout = ${IDLE_CONNECTION_SECONDS} */`;

/**
 * Tables of a MySQL or MariaDB database. Writers run beside each other. Reads have connections of their own: a transaction may wait for a
 * read, which would wait for ever for a connection that only other transactions have, which wait for the first one's locks.
 */
export async function openMysqlDatabase(options: MysqlOptions): Promise<Database> {
  await migrate(options);
  const { queryMs = QUERY_MS, idleTransactionSeconds = IDLE_TRANSACTION_SECONDS } = options;
  const limits = { queryMs, session: [idleLimit(idleTransactionSeconds)] };
  const source = await createMysqlSource(options, limits).initialize();
  const reader = await createMysqlSource(options, limits).initialize();
  const availability = createAvailability({
    name: options.name,
    probes: {
      read: () => askAnew(options, "SELECT 1"),
      // Refused, or held up, where changes are, also of no row.
      write: () => askAnew(options, `DELETE FROM ${LOCK_TABLE} WHERE id < 0`),
    },
    logger: options.logger,
  });
  explainErrors(source, (error, runner) => giveUpHung(error, runner));
  explainErrors(reader, async (error, runner) => availability.failed(await giveUpHung(error, runner), "read"));

  const inTurn = new Set<Promise<unknown>>();

  const transaction: Database["transaction"] = async (work) => {
    await Promise.allSettled(inTurn);
    const ended = availability.began();
    try {
      return await attempts(work);
    } finally {
      ended();
    }
  };

  const attempts: Database["transaction"] = async (work) => {
    const lostUntil = performance.now() + LOST_MS;
    for (let attempt = 1; ; attempt += 1) {
      const callbacks: (() => void)[] = [];
      let isDone = false;
      try {
        const result = await source.transaction(async (manager) => {
          const made = await work({ manager, afterCommit: (callback) => callbacks.push(callback) });
          isDone = true;
          return made;
        });
        availability.committed();
        for (const callback of callbacks) callback();
        return result;
      } catch (error) {
        const failure = databaseFailureOf(error);
        // A server gives up the transaction of a connection that ends, unless it was told to commit: nobody knows about that one.
        const mayRepeat =
          failure === "conflict" || (failure === "lost-connection" && !isDone && performance.now() < lostUntil);
        if (!mayRepeat || attempt === MAX_ATTEMPTS) throw availability.failed(error, "write", { mayBeDone: isDone });
      }
      await delay(Math.random() * 2 ** Math.min(attempt, 6));
    }
  };

  return {
    file: null,
    read: reader.manager,
    transaction,
    readInTurn(read) {
      const result = read(reader.manager);
      inTurn.add(result);
      return result.finally(() => inTurn.delete(result));
    },
    async ping() {
      await reader.query("SELECT 1").catch((error: unknown) => {
        // Without the address, since everybody may read /health.
        const code = systemCodeOf(error instanceof Error ? (error.cause ?? error) : error);
        throw new Error(`It cannot be used (${code}). It is looked for where DATABASE_URL says.`, { cause: error });
      });
    },
    whyFailing: () => availability.whyFailing(),
    failed: (error) => availability.failed(error, "write"),
    async close() {
      await Promise.all([reader, source].map((each) => each.destroy()));
    },
  };
}

/** Connects, and waits for a server that starts at the same time. @throws ConfigError */
export async function connectMysql(options: MysqlOptions): Promise<DataSource> {
  const { name, logger } = options;
  const deadline = performance.now() + START_MS;
  for (let isSaid = false; ;) {
    try {
      const source = await createMysqlSource(options).initialize();
      if (isSaid) logger?.info({ database: name }, "the server of DATABASE_URL answers");
      return source;
    } catch (error) {
      if (databaseFailureOf(error) === "lost-connection" && performance.now() < deadline) {
        if (!isSaid)
          logger?.warn(
            { database: name, code: systemCodeOf(error), seconds: START_MS / 1_000 },
            "the server of DATABASE_URL is not usable; it is waited for",
          );
        isSaid = true;
        await delay(500);
        continue;
      }
      throw refusalOf(error, options.url);
    }
  }
}

/** Whether the server takes one more connection, and does this on it: those of a pool may be there from better times. */
async function askAnew(options: MysqlOptions, statement: string): Promise<void> {
  const connection = await createConnection({ ...connectionOptions(options), connectTimeout: PROBE_MS });
  // What fails is told to the statement.
  connection.on("error", () => undefined);
  try {
    await connection.query({ sql: statement, timeout: PROBE_MS });
  } finally {
    connection.destroy();
  }
}

/** A connection on which a server hangs is of no use to the next one, which would wait behind this one. */
async function giveUpHung(error: unknown, runner: QueryRunner): Promise<unknown> {
  if (systemCodeOf(error) === "PROTOCOL_SEQUENCE_TIMEOUT") ((await runner.connect()) as PoolConnection).destroy(); // of this driver
  return error;
}

/** Brings the tables up to date, in one process at a time, for as long as that takes. */
async function migrate(options: MysqlOptions): Promise<void> {
  const source = await connectMysql(options);
  try {
    await prepared(options.url, () => migrateBy(source, options));
  } finally {
    await source.destroy();
  }
}

async function migrateBy(source: DataSource, options: MysqlOptions): Promise<void> {
  const { name, migrate: mayMigrate = true, isAlone = false } = options;
  const runner = source.createQueryRunner();
  try {
    const [{ held }] = await runner.query(`SELECT GET_LOCK(${MIGRATION_LOCK}, ?) AS held`, [MIGRATION_WAIT_SECONDS]);
    if (Number(held) !== 1)
      throw preconditionFailed("database", "Another process migrates the database, and does not end.");
    if (!isAlone) await refuseBesideCommand(source);
    const found = await requireUsable(source);
    await refuseNewer(source, name);
    if (!isAlone) await refuseUnfinishedCopy(source);
    await useCollation(source, found);
    // The first of all: it tells a database that is begun from another program's.
    await runner.query(`CREATE TABLE IF NOT EXISTS ${LOCK_TABLE} (id INT PRIMARY KEY)`);
    if (await source.showMigrations()) {
      if (!mayMigrate)
        throw preconditionFailed(
          "database-version",
          `The tables of ${name} are in use by an earlier version of Toolyard: stop it, or run this command in that version.`,
        );
      await source.runMigrations({ transaction: "each" });
    }
    const ids = Array.from({ length: LOCK_ROWS }, (_, id) => `(${id})`).join(", ");
    await runner.query(`INSERT IGNORE INTO ${LOCK_TABLE} (id) VALUES ${ids}`);
  } finally {
    await runner.query(`SELECT RELEASE_LOCK(${MIGRATION_LOCK})`).catch(() => {
      // The connection is lost, and the lock with it.
    });
    await runner.release();
  }
}

/** Has new tables tell all texts apart, also those that differ in case, accents or blanks at the end. */
async function useCollation(source: DataSource, found: FoundDatabase): Promise<void> {
  const collation = found.isMariadb ? "utf8mb4_nopad_bin" : "utf8mb4_0900_bin";
  if (found.collation !== collation) await source.query(`ALTER DATABASE CHARACTER SET utf8mb4 COLLATE ${collation}`);
}

export async function refuseNewer(source: DataSource, name: string): Promise<void> {
  const table = source.options.migrationsTableName ?? "";
  const found = await source.query<unknown[]>(
    "SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?",
    [table],
  );
  if (found.length === 0) return;
  const known = new Set(source.migrations.map((migration) => migration.name));
  const run = await source.query<{ name: string }[]>(`SELECT "name" FROM "${table}" ORDER BY "id"`);
  const unknown = run.findLast((each) => !known.has(each.name));
  if (unknown)
    throw preconditionFailed(
      "database-version",
      `The tables of ${name} were migrated by a newer Toolyard (${unknown.name}) than this one. Nothing was changed. Start the newer one again, or restore a backup from before the upgrade.`,
    );
}

/**
 * A data source on a database; exported for the migration generator. `type` decides only how TypeORM reads the schema that is there; after
 * `queryMs` without an answer a statement fails. `session` are statements for each connection.
 */
export function createMysqlSource(
  { url, ca = null, poolSize = POOL_SIZE, name, entities, migrations }: MysqlOptions,
  {
    type = "mysql",
    queryMs = null,
    session = [],
  }: { type?: "mysql" | "mariadb"; queryMs?: number | null; session?: readonly string[] } = {},
): DataSource {
  const { user, ...connection } = connectionOptions({ url, ca });
  return new DataSource({
    type,
    ...connection,
    connectTimeout: Math.min(connection.connectTimeout, queryMs ?? Infinity),
    username: user,
    extra: { maxIdle: IDLE_CONNECTIONS, idleTimeout: IDLE_MS },
    driver: {
      ...mysql,
      createPool(options: PoolOptions): Pool {
        const pool = mysql.createPool(options);
        // Runs before whatever the connection is first taken for.
        pool.on("connection", (connection) => {
          for (const statement of [...SESSION, ...session])
            connection.query(statement, (error) => error && connection.destroy());
        });
        return pool;
      },
    },
    ...(queryMs !== null && { enableQueryTimeout: true, maxQueryExecutionTime: queryMs }),
    poolSize,
    supportBigNumbers: true,
    bigNumberStrings: false,
    entities: entities.map(withTypes),
    migrations: createMigrations(migrations, migrateInSteps(name)),
    migrationsTransactionMode: "each",
    migrationsTableName: `${name}_migrations`,
    logger: statementReporter(name),
  });
}

/** TEXT ends at 64 KiB here. */
const TYPES: Partial<Record<string, EntitySchemaColumnOptions["type"]>> = { text: "longtext", integer: "bigint" };

function withTypes(entity: EntitySchema): EntitySchema {
  const columns = Object.entries(entity.options.columns).map(([name, column]) => {
    const type = column && TYPES[String(column.type)];
    return [name, type ? { ...column, type } : column] as const;
  });
  return new EntitySchema(Object.assign({}, entity.options, { columns: Object.fromEntries(columns) }));
}
