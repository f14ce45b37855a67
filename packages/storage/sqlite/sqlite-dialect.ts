import { setImmediate as turn } from "node:timers/promises";
import { CHUNK_ROWS, partsOf } from "../parts.ts";
import type { Dialect, GivenRows } from "../dialect.ts";

/** A transaction has the file to itself (BEGIN IMMEDIATE), so nothing needs a lock of its own. */
export const sqliteDialect: Dialect = {
  name: "sqlite",
  forUpdate: {},
  held: "",
  heldShared: "",
  now: async () => Date.now(),
  async lock() {},
  rows,
  whereFirstOfEach(query, { table, key, parts, childrenOf }) {
    const given = rows(":parts", "part");
    const children = `SELECT child."${key}" FROM "${table}" child ${childrenOf(given.at)}`;
    query.andWhere(
      `"${query.alias}"."${key}" IN (SELECT wanted."${key}" FROM ${given.from} CROSS JOIN "${table}" wanted ON wanted."${key}" IN (${children}))`,
      { parts: JSON.stringify(parts) },
    );
  },
  onDuplicate: (keys, columns) =>
    `ON CONFLICT (${keys.map((key) => `"${key}"`).join(", ")}) DO UPDATE SET ${columns.map((name) => `"${name}" = excluded."${name}"`).join(", ")}`,
  updateFrom: ({ table, from, on, set }) =>
    `UPDATE "${table}" SET ${set.map(([name, value]) => `"${name}" = ${value}`).join(", ")} FROM ${from} WHERE ${on}`,
  unindexed: (column) => `+${column}`,
  async deleteSome(manager, entity, where, limit) {
    // SQLite has no DELETE with a LIMIT unless it is built with it; every table has a rowid.
    const some = manager.createQueryBuilder(entity, "old").select("old.rowid").where(where).limit(limit);
    const { affected } = await manager
      .createQueryBuilder()
      .delete()
      .from(entity)
      .where(`rowid IN (${some.getQuery()})`)
      .setParameters(some.getParameters())
      .execute();
    return affected ?? 0;
  },
  async *readInParts(manager, { table, where, parameters }) {
    // Which they are is in an index alone; as one value, since a row for each would cost more than the rest.
    const [found] = await manager.query<[{ rowids: string }]>(
      `SELECT json_group_array(rowid) AS rowids FROM "${table}" WHERE ${where}`,
      [...parameters],
    );
    for (const rowids of partsOf(JSON.parse(found.rowids) as number[], CHUNK_ROWS)) {
      yield await manager.query(`SELECT * FROM "${table}" WHERE rowid IN (SELECT value FROM json_each(?))`, [
        JSON.stringify(rowids),
      ]);
      await turn();
    }
  },
};

/** One parameter for all values: SQLite compiles such a statement sooner than one with a parameter for each. */
function rows(parameter: string, alias: string): GivenRows {
  return {
    from: `json_each(${parameter}) ${alias}`,
    index: `${alias}.key`,
    at: (place) => `${alias}.value->>${place}`,
  };
}
