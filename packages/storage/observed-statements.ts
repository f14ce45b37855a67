import type { Logger } from "typeorm";

export interface ObservedStatement {
  /** Path of the SQLite file. */
  file: string;
  sql: string;
  /** By position. */
  parameters: readonly unknown[];
}

const observers = new Set<(statement: ObservedStatement) => void>();

/** Tells of each statement that this process runs by `openDatabase`, before it runs: for tests and benchmarks. Returns how to end it. */
export function observeStatements(observer: (statement: ObservedStatement) => void): () => void {
  observers.add(observer);
  return () => observers.delete(observer);
}

/** TypeORM's logger of a file: errors are thrown, so it need not print them besides. */
export function statementReporter(file: string): Logger {
  return {
    logQuery(sql, parameters) {
      for (const observer of observers)
        observer({ file, sql, parameters: Array.isArray(parameters) ? parameters : [] });
    },
    logQueryError() {},
    logQuerySlow() {},
    logSchemaBuild() {},
    logMigration() {},
    log() {},
  };
}
