import type { EntityManager } from "typeorm";
import type { Dialect } from "./dialect.ts";
import { mysqlDialect } from "./mysql/mysql-dialect.ts";
import { sqliteDialect } from "./sqlite/sqlite-dialect.ts";

/** Of the database that a manager, or a repository's manager, is for. */
export function dialectOf({ dataSource }: EntityManager): Dialect {
  return dataSource.options.type === "better-sqlite3" ? sqliteDialect : mysqlDialect;
}
