import { ConfigError, systemCodeOf } from "@toolyard/service-kit";
import type { DataSource } from "typeorm";
import { refusalOf } from "./mysql-connection.ts";

/** What a server's database is, as far as it decides whether Toolyard may use it. */
export interface FoundDatabase {
  isMariadb: boolean;
  collation: string;
}

/**
 * To be asked before anything is made in a database.
 * @throws ConfigError where the server is too old, or the database has tables and none is Toolyard's
 */
export async function requireUsable(source: DataSource): Promise<FoundDatabase> {
  const [{ version = "", collation = "" } = {}] = await source.query<{ version?: string; collation?: string }[]>(
    "SELECT VERSION() AS version, @@collation_database AS collation",
  );
  refuseOld(version);
  const tables = await source.query<{ name: string }[]>(
    "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = DATABASE()",
  );
  const names = tables.map(({ name }) => name).toSorted();
  // The first that are made begin so.
  if (names.length > 0 && !names.some((name) => name.startsWith("toolyard_")))
    throw new ConfigError(
      `DATABASE_URL: the database is another program's: it has tables such as ${names[0]}, and none of Toolyard's. Nothing was made in it. Name one that is empty.`,
    );
  return { isMariadb: isMariadb(version), collation };
}

const isMariadb = (version: string): boolean => version.includes("MariaDB");

/** JSON_TABLE, and collations that tell all texts apart, are younger than some servers. */
export function refuseOld(version: string): void {
  const [major = 0, minor = 0] = version.split(".").map((part) => Number.parseInt(part, 10));
  const oldest = isMariadb(version) ? [10, 6] : [8, 0];
  if (major > oldest[0]! || (major === oldest[0] && minor >= oldest[1]!)) return;
  throw new ConfigError(
    `DATABASE_URL: the server is ${isMariadb(version) ? "MariaDB" : "MySQL"} ${version}; Toolyard needs MySQL 8.0 or MariaDB 10.6, or a later one.`,
  );
}

/** Prepares a database. @throws ConfigError in words of ours where its user may not do it, or tables of others are in the way */
export async function prepared<Result>(url: string, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    throw /^ER_(\w*ACCESS_DENIED|TABLE_EXISTS)/.test(systemCodeOf(error) ?? "") ? refusalOf(error, url) : error;
  }
}
