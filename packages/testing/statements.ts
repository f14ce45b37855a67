import LibsqlDatabase from "libsql";
import { observeStatements, type ObservedStatement } from "@toolyard/storage";

/** The statements that this process runs while `work` does, in order: nothing else may run meanwhile. Writes' BEGIN and COMMIT are among them. */
export async function statementsOf(work: () => Promise<unknown>): Promise<ObservedStatement[]> {
  const statements: ObservedStatement[] = [];
  const end = observeStatements((statement) => statements.push(statement));
  try {
    await work();
    return statements;
  } finally {
    end();
  }
}

/** How SQLite answers each statement on a file that is still there: https://sqlite.org/eqp.html. Without what only begins and ends transactions. */
export function plansOf(statements: readonly ObservedStatement[]): { sql: string; steps: string[] }[] {
  return statements
    .filter(({ sql }) => /^\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b/i.test(sql))
    .map(({ file, sql, parameters }) => {
      const database = new LibsqlDatabase(file);
      try {
        const plan = database.prepare(`EXPLAIN QUERY PLAN ${sql}`).all(...parameters) as { detail: string }[]; // as SQLite says it
        return { sql, steps: plan.map(({ detail }) => detail) };
      } finally {
        database.close();
      }
    });
}

/** How many rows each of the reads answers, on a file that is still there and as it is now. */
export function rowsRead(statements: readonly ObservedStatement[]): { sql: string; rows: number }[] {
  return statements
    .filter(({ sql }) => /^\s*(SELECT|WITH)\b/i.test(sql))
    .map(({ file, sql, parameters }) => {
      const database = new LibsqlDatabase(file, { readonly: true } as LibsqlDatabase.Options);
      try {
        return { sql, rows: database.prepare(sql).all(...parameters).length };
      } finally {
        database.close();
      }
    });
}
