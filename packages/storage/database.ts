import type { EntityManager, EntitySchema } from "typeorm";
import type { Logger } from "@toolyard/service-kit";
import type { Migration } from "./migration.ts";

/**
 * One subgraph's relational store. Reads see only what is committed, and nothing of a transaction that runs.
 */
export interface Database {
  /** Path of the SQLite file, or ":memory:"; null where a server keeps it. */
  readonly file: string | null;
  readonly read: EntityManager;
  /**
   * Runs `work` in a write transaction; rolled back when it throws. Do no slow or external work in it: writers wait. Where another
   * transaction was in its way, all of `work` is run again, so it keeps nothing outside that a run which came to nothing would leave behind.
   * @throws ToolyardError as of `databaseUnavailable` where the database failed
   */
  transaction<Result>(work: (tx: SqlTransaction) => Promise<Result>): Promise<Result>;
  /** Reads what is committed before any transaction of this process begins that is requested later. */
  readInTurn<Result>(read: (manager: EntityManager) => Promise<Result>): Promise<Result>;
  /** Throws when the store does not answer. */
  ping(): Promise<void>;
  /** Why reads or changes fail though it answers, for operators; null where nothing is known of that. What failed is tried again by it. */
  whyFailing(): Promise<string | null>;
  /** For those who change the same data by a way of their own. @returns what is to be thrown: an error for callers where the database failed */
  failed(error: unknown): unknown;
  close(): Promise<void>;
}

/** A write transaction, as it is handed from store to store by those that must not look into it. */
export interface Transaction {
  /** Runs once the transaction is committed, never when it is rolled back: wakes those that wait for the change. */
  afterCommit(run: () => void): void;
}

/** The transaction that an adapter on a relational database works in. */
export interface SqlTransaction extends Transaction {
  readonly manager: EntityManager;
}

/** For adapters that are handed another store's transaction, as event logs are. */
export function sqlTransaction(tx: Transaction): SqlTransaction {
  if (!("manager" in tx)) throw new Error("This transaction is another kind of store's.");
  return tx as SqlTransaction; // only Database makes them with a manager
}

export type DatabaseOptions = SqliteOptions | MysqlOptions;

export interface SqliteOptions extends Tables {
  /** Path of the file, or ":memory:" for tests. Made, with its folder, when missing. */
  file: string;
}

export interface MysqlOptions extends Tables {
  /** `mysql://user:password@host:port/database`, with `?tls=true` where TLS is wanted. The database is there; all stores of an installation share it. */
  url: string;
  /** Certificates, in PEM, that the server's is verified by, and so TLS. */
  ca?: string | null;
  /** Connections of one store in one process for reads, and as many for transactions. */
  poolSize?: number;
  /** After so long without an answer a statement fails, since the server hangs; 30 s. */
  queryMs?: number;
  /** After so long without a statement a transaction is undone, with its connection: its process hangs, or its host is gone; 10 s. */
  idleTransactionSeconds?: number;
  /** The store's, by which the table of its migrations is told from other stores'. */
  name: string;
}

interface Tables {
  entities: EntitySchema[];
  /** In order; those not yet run are run at opening, each in a transaction. */
  migrations: Migration[];
  /** Is told when the database fails, and when it does not any more. */
  logger?: Pick<Logger, "warn" | "info"> | undefined;
  /** False runs none, and refuses a store that is behind them: for tools that only read while other processes run on it. */
  migrate?: boolean;
  /**
   * Whether the process has the database to itself. A server's (`lockMysqlDatabase`) is refused to all others; a file keeps no journal beside it, by
   * which those that come would take it for opened.
   */
  isAlone?: boolean;
}
