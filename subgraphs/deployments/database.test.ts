import { createDataSource } from "@toolyard/storage/database.ts";
import { readMigrations } from "@toolyard/storage";
import { expect, test } from "vitest";
import { entities, migrationsFolder } from "./database.ts";

test("the migrations make what the entities say", async () => {
  const source = createDataSource({ file: ":memory:", entities, migrations: readMigrations(migrationsFolder) }, true);
  await source.initialize();
  try {
    const { upQueries } = await source.driver.createSchemaBuilder().log();
    expect(upQueries.map(({ query }) => query)).toEqual([]);
  } finally {
    await source.destroy();
  }
});
