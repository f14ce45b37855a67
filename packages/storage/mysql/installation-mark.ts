import { newId } from "@toolyard/service-kit";
import type { DatabaseSettings } from "@toolyard/service-kit/process/process-config.ts";
import type { DataSource } from "typeorm";
import type { MysqlOptions } from "../database.ts";
import type { InstallationMark, InstallationMarks } from "../installation-mark.ts";
import { connectMysql } from "./mysql-database.ts";
import { prepared, requireUsable } from "./usable-database.ts";

const TABLE = "toolyard_installation";

type Settings = Pick<DatabaseSettings, "url" | "ca"> & Pick<MysqlOptions, "logger">;

/** In a table of the server. @throws ConfigError where it cannot be used */
export async function openMysqlMarks(database: Settings): Promise<InstallationMarks> {
  const source = await connectMysql({ ...database, name: "installation", poolSize: 1, entities: [], migrations: [] });
  return {
    where: "the database of DATABASE_URL",
    read: () => readMark(source),
    begin: () => prepared(database.url, () => makeMark(source, newId())),
    pair: async () => void (await source.query(`UPDATE ${TABLE} SET paired = 1`)),
    async some({ table, column }, which, limit) {
      const order = which === "HIGHEST" ? "DESC" : "ASC";
      if (!(await hasColumn(source, table, column))) return [];
      const rows = await source.query<{ value: string }[]>(
        `SELECT "${column}" AS "value" FROM "${table}" WHERE "${column}" IS NOT NULL ORDER BY "${column}" ${order} LIMIT ${limit}`,
      );
      return rows.map(({ value }) => value);
    },
    async hasAny({ table, column }, values) {
      if (values.length === 0 || !(await hasColumn(source, table, column))) return false;
      const places = values.map(() => "?").join(", ");
      const sql = `SELECT 1 FROM "${table}" WHERE "${column}" IN (${places}) LIMIT 1`;
      return (await source.query<unknown[]>(sql, [...values])).length > 0;
    },
    [Symbol.asyncDispose]: () => source.destroy(),
  };
}

/** Gives a database, to which an installation is moved, the mark that it had; one that was begun there and never paired gives way. */
export async function takeMysqlMark(database: Settings, id: string): Promise<void> {
  const source = await connectMysql({ ...database, name: "installation", poolSize: 1, entities: [], migrations: [] });
  try {
    await prepared(database.url, async () => {
      await makeMark(source, id);
      await source.query(`UPDATE ${TABLE} SET installation = ? WHERE paired = 0`, [id]);
    });
  } finally {
    await source.destroy();
  }
}

async function makeMark(source: DataSource, id: string): Promise<InstallationMark> {
  const found = await readMark(source);
  if (found) return found;
  await requireUsable(source);
  await source.query(
    `CREATE TABLE IF NOT EXISTS ${TABLE} (id INT PRIMARY KEY, installation VARCHAR(64) NOT NULL, paired INT NOT NULL)`,
  );
  await source.query(`INSERT IGNORE INTO ${TABLE} (id, installation, paired) VALUES (1, ?, 0)`, [id]);
  return (await readMark(source)) ?? { id, isPaired: false };
}

async function readMark(source: DataSource): Promise<InstallationMark | null> {
  if (!(await hasColumn(source, TABLE, "installation"))) return null;
  const [row] = await source.query<{ installation: string; paired: number }[]>(
    `SELECT installation, paired FROM ${TABLE}`,
  );
  return row ? { id: row.installation, isPaired: Number(row.paired) !== 0 } : null;
}

async function hasColumn(source: DataSource, table: string, column: string): Promise<boolean> {
  const found = await source.query<unknown[]>(
    "SELECT 1 FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ? AND column_name = ?",
    [table, column],
  );
  return found.length > 0;
}
