import { setTimeout as delay } from "node:timers/promises";
import { preconditionFailed } from "@toolyard/service-kit";
import mysql, { type Connection, type RowDataPacket } from "mysql2/promise";
import type { DataSource } from "typeorm";
import type { MysqlOptions } from "../database.ts";
import { connectionOptions, refusalOf } from "./mysql-connection.ts";

/** Connections of a process that was killed are there for a moment. */
const LINGER_MS = 5_000;

/** Names of locks are the server's, not the database's, and end at 64 characters. */
export const MIGRATION_LOCK = "CONCAT('toolyard-migrations-', MD5(DATABASE()))";
/** Held while a command has the database to itself; no process opens its stores then. */
const SOLE_LOCK = "CONCAT('toolyard-alone-', MD5(DATABASE()))";

/** @throws ToolyardError PRECONDITION_FAILED while a command has the database to itself */
export async function refuseBesideCommand(source: DataSource): Promise<void> {
  const [found] = await source.query<{ command: number | null }[]>(`SELECT IS_USED_LOCK(${SOLE_LOCK}) AS command`);
  if (found?.command !== null)
    throw preconditionFailed(
      "database",
      "A command has the database of DATABASE_URL to itself: start again when it has ended.",
    );
}

/** A database that no other process of Toolyard has open. */
export interface DatabaseLock {
  release(): Promise<void>;
}

/**
 * Has a server's database to this process, until `release` or the process's end.
 * @throws ToolyardError PRECONDITION_FAILED where others are connected to it; ConfigError
 */
export async function lockMysqlDatabase(settings: Pick<MysqlOptions, "url" | "ca">): Promise<DatabaseLock> {
  const connection = await mysql.createConnection(connectionOptions(settings)).catch((error: unknown) => {
    throw refusalOf(error, settings.url);
  });
  try {
    const [held] = await rowsOf(connection, `SELECT GET_LOCK(${SOLE_LOCK}, 0) AS held`);
    if (Number(held?.["held"]) !== 1)
      throw preconditionFailed("database", "Another command works on the database of DATABASE_URL: wait for its end.");
    for (const deadline = performance.now() + LINGER_MS; ; await delay(200)) {
      const others = await othersOf(connection);
      if (others.length === 0) return { release: () => connection.end() };
      if (performance.now() > deadline) {
        const hosts = [...new Set(others)].join(", ");
        throw preconditionFailed(
          "database",
          `The database of DATABASE_URL is in use: ${others.length} connections, from ${hosts}. Stop Toolyard there first, and whatever else is connected to it.`,
        );
      }
    }
  } catch (error) {
    await connection.end();
    throw error;
  }
}

/** The hosts of other connections, of which a user sees its own, and all with the privilege PROCESS. */
async function othersOf(connection: Connection): Promise<string[]> {
  const [[own], threads] = [
    await rowsOf(connection, "SELECT CONNECTION_ID() AS id, DATABASE() AS name"),
    await rowsOf(connection, "SHOW PROCESSLIST"),
  ];
  return threads
    .filter((thread) => thread["db"] === own?.["name"] && Number(thread["Id"]) !== Number(own?.["id"]))
    .map((thread) => String(thread["Host"]).replace(/:\d+$/, ""));
}

async function rowsOf(connection: Connection, sql: string): Promise<RowDataPacket[]> {
  const [rows] = await connection.query<RowDataPacket[]>(sql);
  return rows;
}
