import { preconditionFailed } from "@toolyard/service-kit";
import { deriveKey, keyId } from "@toolyard/service-kit/identity/keys.ts";
import type { DatabaseSettings } from "@toolyard/service-kit/process/process-config.ts";
import { connectMysql } from "./mysql-database.ts";

const TABLE = "toolyard_key";

/**
 * Holds all processes on one server to one SECRET_KEY: the first to start names it there by its id, which reveals nothing of it. One that has
 * another key would let nobody in, and open nothing that is sealed.
 * @param secretKeys Current first. Where an earlier one is named there, the current one takes its place.
 * @throws ToolyardError PRECONDITION_FAILED
 */
export async function requireSameKey(
  database: DatabaseSettings,
  secretKeys: readonly [string, ...string[]],
): Promise<void> {
  const [current, ...previous] = secretKeys.map((key) => keyId(deriveKey(key, "sealing")));
  const source = await connectMysql({ ...database, name: "key", entities: [], migrations: [] });
  try {
    await source.query(`CREATE TABLE IF NOT EXISTS ${TABLE} (id INT PRIMARY KEY, kid VARCHAR(64) NOT NULL)`);
    await source.query(`INSERT IGNORE INTO ${TABLE} (id, kid) VALUES (1, ?)`, [current]);
    const [row] = await source.query<{ kid: string }[]>(`SELECT kid FROM ${TABLE} WHERE id = 1`);
    if (row === undefined || row.kid === current) return;
    if (!previous.includes(row.kid))
      throw preconditionFailed(
        "secret-key",
        "SECRET_KEY is not the one that this database's other processes have: all that share a database need the same. Without " +
          "SECRET_KEY it is in DATA_DIR/secret-key of the host that started first. While it is rotated, SECRET_KEY_PREVIOUS names the one before.",
      );
    await source.query(`UPDATE ${TABLE} SET kid = ? WHERE id = 1 AND kid = ?`, [current, row.kid]);
  } finally {
    await source.destroy();
  }
}
