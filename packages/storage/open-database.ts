import type { Database, DatabaseOptions } from "./database.ts";
import { openSqliteDatabase } from "./sqlite/sqlite-database.ts";

/** @throws ToolyardError PRECONDITION_FAILED when a newer Toolyard migrated it; nothing is changed then. */
export function openDatabase(options: DatabaseOptions): Promise<Database> {
  return openSqliteDatabase(options);
}
