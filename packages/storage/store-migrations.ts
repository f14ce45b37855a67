import type { DatabaseOptions } from "./database.ts";
import * as sqlite from "./sqlite/migrate.ts";

/** What was run of a store's migrations, and the way back. Opening a store is the way forth. */
export interface StoreMigrations {
  /** Their names, in order; none where there is no store yet. */
  run(): Promise<string[]>;
  /** The tables that have rows, which undoing the first migration would lose. */
  tablesWithRows(): Promise<string[]>;
  /** @throws ToolyardError PRECONDITION_FAILED when the latest has no way back, or a newer Toolyard made it */
  undoLast(): Promise<void>;
}

export async function storeMigrations(options: DatabaseOptions): Promise<StoreMigrations> {
  if ("file" in options)
    return {
      run: async () => sqlite.migrationsRun(options.file),
      tablesWithRows: async () => sqlite.tablesWithRows(options.file),
      undoLast: () => sqlite.undoLastMigration(options),
    };
  const mysql = await import("./mysql/migrate.ts");
  return {
    run: () => mysql.migrationsRun(options),
    tablesWithRows: () => mysql.tablesWithRows(options),
    undoLast: () => mysql.undoLastMigration(options),
  };
}
