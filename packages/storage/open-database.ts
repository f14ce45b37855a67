import type { Database, DatabaseOptions } from "./database.ts";
import { openSqliteDatabase } from "./sqlite/sqlite-database.ts";

/** @throws ToolyardError PRECONDITION_FAILED when a newer Toolyard migrated it; nothing is changed then. */
export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  if ("file" in options) return openSqliteDatabase(options);
  // Loaded where it is used: the embedded default starts without its driver.
  const { openMysqlDatabase } = await import("./mysql/mysql-database.ts");
  return openMysqlDatabase(options);
}
