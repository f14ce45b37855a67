import { join } from "node:path";
import { createMigrations } from "@toolyard/storage/migration.ts";
import { createSqliteSource } from "@toolyard/storage/sqlite/sqlite-database.ts";
import { expect, test } from "vitest";
import { noMysql } from "@toolyard/testing/sql-stores.ts";
import { findSchemaDifferences, readStores } from "../../scripts/store-schemas.ts";

const root = join(import.meta.dirname, "../..");
const stores = await readStores(root);

test("the stores are found", () => {
  expect(stores.map(({ name }) => name)).toEqual(expect.arrayContaining(["deployments", "identity", "tasks", "tools"]));
});

test.each(stores)("each migration of $name leads back to the schema before it, and forth again", async (store) => {
  const { entities, migrations } = store;
  const source = await createSqliteSource({ file: ":memory:", entities, migrations: [] }, true).initialize();
  try {
    const runner = source.createQueryRunner();
    const schema = async () =>
      (
        (await runner.query(
          "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT IN ('migrations', 'sqlite_sequence')",
        )) as { sql: string }[]
      )
        .map(({ sql }) => sql.replaceAll(/\s+/g, " ").trim())
        .toSorted();
    for (const [index, Migration] of createMigrations(migrations).entries()) {
      const migration = new Migration();
      const before = await schema();
      await migration.up(runner);
      const after = await schema();
      await migration.down(runner);
      expect(await schema(), migrations[index]?.name).toEqual(before);
      await migration.up(runner);
      expect(await schema(), migrations[index]?.name).toEqual(after);
    }
  } finally {
    await source.destroy();
  }
});

test.skipIf(noMysql !== null)(
  `on MySQL the migrations make what the entities say (${noMysql ?? "compared"})`,
  async () => {
    expect(await findSchemaDifferences(root, process.env["TEST_MYSQL_URL"])).toEqual([]);
  },
);
