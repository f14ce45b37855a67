import type { MysqlOptions } from "../database.ts";
import { connectMysql } from "./mysql-database.ts";

/** A server's database as of one moment, however long it is read. */
export interface Snapshot {
  query<Result>(sql: string, parameters?: unknown[]): Promise<Result>;
  close(): Promise<void>;
}

/** @throws ConfigError where the server cannot be used */
export async function openSnapshot(settings: Pick<MysqlOptions, "url" | "ca">): Promise<Snapshot> {
  const source = await connectMysql({ ...settings, name: "snapshot", entities: [], migrations: [] });
  const runner = source.createQueryRunner();
  // Tables that are read later are of the moment of this statement, too.
  await runner.query("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ");
  await runner.query("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY");
  return {
    query: (sql, parameters) => runner.query(sql, parameters),
    async close() {
      await runner.query("ROLLBACK").catch(() => undefined); // the connection ends with it
      await runner.release();
      await source.destroy();
    },
  };
}
