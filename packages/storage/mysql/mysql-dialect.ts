import { createHash } from "node:crypto";
import { partsOf, CHUNK_ROWS } from "../parts.ts";
import type { Dialect, GivenRows, ValueType } from "../dialect.ts";

/** MySQL 8 and MariaDB 10.6 or later, with ANSI_QUOTES. */
export const mysqlDialect: Dialect = {
  name: "mysql",
  forUpdate: { lock: { mode: "pessimistic_write" } },
  held: "FOR UPDATE",
  // MariaDB has no FOR SHARE.
  heldShared: "LOCK IN SHARE MODE",
  async now(manager) {
    const [{ now }] = await manager.query<[{ now: string }]>("SELECT UNIX_TIMESTAMP(NOW(3)) * 1000 AS now");
    return Math.floor(Number(now));
  },
  async lock(manager, name) {
    const row = createHash("sha256").update(name).digest().readUInt32BE() % LOCK_ROWS;
    await manager.query(`SELECT id FROM ${LOCK_TABLE} WHERE id = ? FOR UPDATE`, [row]);
  },
  rows,
  whereFirstOfEach(query, { table, key, parts, childrenOf }) {
    if (parts.length === 0) {
      query.andWhere("1 = 0");
      return;
    }
    // A subquery of IN may have no LIMIT, and no subquery of FROM may name a row of another (MariaDB): each part is a SELECT of its own.
    const children = parts.map(
      (_, index) => `(SELECT child."${key}" FROM "${table}" child ${childrenOf((place) => `:part_${index}_${place}`)})`,
    );
    const values = parts.flatMap((part, index) =>
      part.map((value, place) => [`part_${index}_${place}`, value] as const),
    );
    query
      .innerJoin(`(${children.join(" UNION ALL ")})`, "wanted", `"wanted"."${key}" = "${query.alias}"."${key}"`)
      .setParameters(Object.fromEntries(values));
  },
  onDuplicate: (_keys, columns) =>
    `ON DUPLICATE KEY UPDATE ${columns.map((name) => `"${name}" = VALUES("${name}")`).join(", ")}`,
  updateFrom: ({ table, from, on, set }) =>
    `UPDATE "${table}" JOIN ${from} ON ${on} SET ${set.map(([name, value]) => `"${table}"."${name}" = ${value}`).join(", ")}`,
  unindexed: (column) => column,
  async deleteSome(manager, entity, where, limit) {
    const [sql, parameters] = manager.createQueryBuilder().delete().from(entity).where(where).getQueryAndParameters();
    const { affectedRows } = await manager.query<{ affectedRows: number }>(`${sql} LIMIT ${limit}`, parameters);
    return affectedRows;
  },
  async *readInParts(manager, { table, where, parameters }) {
    yield* partsOf(await manager.query(`SELECT * FROM "${table}" WHERE ${where}`, [...parameters]), CHUNK_ROWS);
  },
};

/** Rows to lock in place of names, of which there may be any number. */
export const LOCK_TABLE = "toolyard_locks";
export const LOCK_ROWS = 256;

const TYPES: Record<ValueType, string> = {
  text: "VARCHAR(1024)",
  "long-text": "LONGTEXT",
  integer: "BIGINT",
  real: "DOUBLE",
};

function rows(parameter: string, alias: string, types: readonly ValueType[]): GivenRows {
  const columns = types.map((type, place) => `c${place} ${TYPES[type]} PATH '$[${place}]'`);
  return {
    from: `JSON_TABLE(${parameter}, '$[*]' COLUMNS (place FOR ORDINALITY, ${columns.join(", ")})) ${alias}`,
    index: `(${alias}.place - 1)`,
    at: (place) => `${alias}.c${place}`,
  };
}
