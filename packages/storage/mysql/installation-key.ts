import { ConfigError } from "@toolyard/service-kit";
import { deriveKey, keyId } from "@toolyard/service-kit/identity/keys.ts";
import type { DatabaseSettings } from "@toolyard/service-kit/process/process-config.ts";
import type { DataSource } from "typeorm";
import type { MysqlOptions } from "../database.ts";
import { connectMysql } from "./mysql-database.ts";
import { refuseBesideCommand } from "./server-lock.ts";
import { refuseUnfinishedCopy } from "./unfinished-copy.ts";
import { prepared, requireUsable } from "./usable-database.ts";

const TABLE = "toolyard_key";

/**
 * Holds all processes on one server to one SECRET_KEY: the first to start names it there by its id, which reveals nothing of it. One that has
 * another key would let nobody in, and open nothing that is sealed.
 * @param secretKeys Current first. Where an earlier one is named there, the current one takes its place.
 * @throws ConfigError where the key is another, or the database cannot be used; ToolyardError PRECONDITION_FAILED where none is named yet, and a
 *   command copies an installation into it
 */
export async function requireSameKey(
  database: DatabaseSettings & Pick<MysqlOptions, "logger" | "isAlone">,
  secretKeys: readonly [string, ...string[]],
): Promise<void> {
  const idOf = (key: string) => keyId(deriveKey(key, "sealing"));
  const [current, previous] = [idOf(secretKeys[0]), secretKeys.slice(1).map(idOf)];
  const source = await connectMysql({ ...database, name: "key", entities: [], migrations: [] });
  try {
    await prepared(database.url, () => holdKey(source, current, previous, database.isAlone ?? false));
  } finally {
    await source.destroy();
  }
}

async function holdKey(
  source: DataSource,
  current: string,
  previous: readonly string[],
  isAlone: boolean,
): Promise<void> {
  await requireUsable(source);
  const read = async () => (await source.query<{ kid: string }[]>(`SELECT kid FROM ${TABLE} WHERE id = 1`))[0];
  await source.query(`CREATE TABLE IF NOT EXISTS ${TABLE} (id INT PRIMARY KEY, kid VARCHAR(64) NOT NULL)`);
  if (!isAlone && !(await read())) {
    // What is copied there is another installation's, whose key it gets.
    await refuseBesideCommand(source);
    await refuseUnfinishedCopy(source);
  }
  await source.query(`INSERT IGNORE INTO ${TABLE} (id, kid) VALUES (1, ?)`, [current]);
  const row = await read();
  if (row === undefined || row.kid === current) return;
  if (!previous.includes(row.kid))
    throw new ConfigError(
      "SECRET_KEY: it is not the one that this database's other processes have: all that share a database need the same. Without " +
        "SECRET_KEY it is in DATA_DIR/secret-key of the host that started first. While it is rotated, SECRET_KEY_PREVIOUS names the one before.",
    );
  await source.query(`UPDATE ${TABLE} SET kid = ? WHERE id = 1 AND kid = ?`, [current, row.kid]);
}
