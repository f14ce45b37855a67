import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openDatabase } from "@toolyard/storage";
import { DataSource } from "typeorm";
import { describe } from "vitest";
import { createInProcessBus } from "./bus.ts";
import { eventLogContract } from "./event-log.contract.ts";
import { createEventLog, eventLogSchema } from "./event-log.sql.ts";
import LibsqlDatabase from "libsql";

const schema = eventLogSchema("test");

/** The SQL that makes the log's tables, from its entities. */
async function tables(): Promise<string[]> {
  const source = new DataSource({
    type: "better-sqlite3",
    driver: LibsqlDatabase,
    database: ":memory:",
    entities: [schema.events, schema.counter],
  });
  await source.initialize();
  const { upQueries } = await source.driver.createSchemaBuilder().log();
  await source.destroy();
  return upQueries.map(({ query }) => query);
}

describe("the event log on SQLite", () => {
  eventLogContract(async (run) => {
    const folder = await mkdtemp(join(tmpdir(), "toolyard-events-"));
    const database = await openDatabase({
      file: join(folder, "test.sqlite"),
      entities: [schema.events, schema.counter],
      migrations: [{ name: "0001-initial", statements: await tables() }],
    });
    const bus = createInProcessBus();
    try {
      await run({ database, bus, log: createEventLog({ database, schema, bus }) });
    } finally {
      await database.close();
      await rm(folder, { recursive: true });
    }
  });
});
