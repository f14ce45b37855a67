import type { EntityManager } from "typeorm";
import type { Dialect } from "./dialect.ts";
import { sqliteDialect } from "./sqlite/sqlite-dialect.ts";

/** Of the database that a manager, or a repository's manager, is for. */
export function dialectOf(_manager: EntityManager): Dialect {
  return sqliteDialect;
}
