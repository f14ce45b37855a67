import { noMysql } from "@toolyard/testing/sql-stores.ts";
import { EntitySchema } from "typeorm";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { column } from "../columns.ts";
import type { MysqlOptions } from "../database.ts";
import { observeStatements } from "../observed-statements.ts";
import { storeMigrations } from "../store-migrations.ts";
import { openMysqlDatabase } from "./mysql-database.ts";
import { createConnection, type Connection } from "mysql2/promise";
import { createScratchDatabase, type ScratchDatabase } from "./scratch-database.ts";
import { lockMysqlDatabase } from "./server-lock.ts";

describe.skipIf(noMysql !== null)(`a database of MySQL${noMysql === null ? "" : ` (skipped: ${noMysql})`}`, () => {
  const things = new EntitySchema<{ id: string }>({ name: "things", columns: { id: { ...column.primaryId } } });
  const step = (name: string) => ({
    name,
    statements: [`CREATE TABLE "t${name.slice(0, 4)}" ("id" INT PRIMARY KEY)`],
    undo: [`DROP TABLE "t${name.slice(0, 4)}"`],
  });
  let server: ScratchDatabase;
  let options: MysqlOptions;
  beforeEach(async () => {
    server = await createScratchDatabase(process.env["TEST_MYSQL_URL"] ?? "");
    options = {
      url: server.url,
      name: "things",
      entities: [things as EntitySchema],
      migrations: [
        { name: "0001-initial", statements: ['CREATE TABLE "things" ("id" VARCHAR(64) PRIMARY KEY)'], undo: null },
        step("0002-second"),
      ],
    };
  });
  afterEach(() => server.drop());
  const open = async (more: Partial<MysqlOptions> = {}) => (await openMysqlDatabase({ ...options, ...more })).close();

  test("processes that open it at once migrate it once, however many they are", async () => {
    const made: string[] = [];
    const stop = observeStatements(({ sql }) => /CREATE TABLE "/.test(sql) && made.push(sql));
    await Promise.all(Array.from({ length: 6 }, () => open()));
    stop();
    expect(made).toEqual(options.migrations.flatMap(({ statements }) => statements));
    expect(await (await storeMigrations(options)).run()).toEqual(["0001-initial", "0002-second"]);
  });

  test("one that newer code migrated is refused by older code, and nothing is changed; one that is behind by who must not migrate", async () => {
    const newer = { ...options, migrations: [...options.migrations, step("0003-third")] };
    await open(newer);
    await expect(open()).rejects.toThrow(/things were migrated by a newer Toolyard \(third0*3\)/);
    const { undoLast, run } = await storeMigrations(newer);
    await undoLast();
    expect(await run()).toEqual(["0001-initial", "0002-second"]);
    await expect(open({ ...newer, migrate: false })).rejects.toThrow(/earlier version of Toolyard/);
    await open();
    await (await storeMigrations(options)).undoLast();
    await expect((await storeMigrations(options)).undoLast()).rejects.toThrow(/0001-initial of things has no way back/);
  });

  test("a migration that was killed goes on where it was, also where the last statement's answer was lost, and so does its way back", async () => {
    const FAILS = 'ALTER TABLE "missing" ADD "x" INT';
    const make = (...last: string[]) => ({
      ...options,
      migrations: [
        {
          name: "0001-initial",
          statements: ['CREATE TABLE "a" ("id" INT)', 'CREATE TABLE "things" ("id" INT)', ...last],
          undo: ['DROP TABLE "a"', ...last, 'DROP TABLE "things"'],
        },
      ],
    });
    await expect(open(make(FAILS))).rejects.toThrow(/missing/);
    const lose = (sql: string) => withConnection(server.url, (connection) => connection.query(sql));
    await lose("UPDATE toolyard_migration_steps SET done = 1");
    await open(make());
    await expect((await storeMigrations(make(FAILS))).undoLast()).rejects.toThrow(/missing/);
    await lose("UPDATE toolyard_migration_steps SET done = 0");
    await (await storeMigrations(make())).undoLast();
    await open(make());
    // What another has made is not taken for one's own.
    await (await storeMigrations(make())).undoLast();
    await lose("CREATE TABLE `things` (`id` INT)");
    await expect(open(make())).rejects.toThrow(/already exists/);
  });

  test("one process has it to itself: not while others are connected, and nobody opens it meanwhile", async () => {
    const other = await openMysqlDatabase(options);
    await expect(lockMysqlDatabase(options)).rejects.toThrow(/is in use: \d+ connections, from localhost/);
    await other.close();
    const lock = await lockMysqlDatabase(options);
    await expect(lockMysqlDatabase(options)).rejects.toThrow(/Another command/);
    await expect(open()).rejects.toThrow(/A command has the database/);
    await open({ isAlone: true });
    await lock.release();
    await open();
  });
});

async function withConnection(url: string, work: (connection: Connection) => Promise<unknown>): Promise<void> {
  const connection = await createConnection(url);
  try {
    await work(connection);
  } finally {
    await connection.end();
  }
}
