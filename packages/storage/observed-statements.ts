import type { Logger } from "typeorm";

export interface ObservedStatement {
  /** Path of the SQLite file. */
  file: string;
  sql: string;
  /** By position. */
  parameters: readonly unknown[];
}

const observers = new Set<(statement: ObservedStatement) => void>();

/** Reports each statement that this process runs on a database from `openDatabase`, before it runs: for tests and benchmarks. Returns a function that stops it. */
export function observeStatements(observer: (statement: ObservedStatement) => void): () => void {
  observers.add(observer);
  return () => observers.delete(observer);
}

/** TypeORM's logger for a file. It prints no errors, since they are thrown. */
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
