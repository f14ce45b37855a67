import { createLogger } from "@toolyard/service-kit";
import { describeOnMysql } from "@toolyard/testing/sql-stores.ts";
import { withWayTo } from "@toolyard/testing/way-to-server.ts";
import mysql, { type RowDataPacket } from "mysql2/promise";
import { EntitySchema } from "typeorm";
import { expect, onTestFinished, test } from "vitest";
import { column } from "../columns.ts";
import { requireSameKey } from "./installation-key.ts";
import { openMysqlDatabase } from "./mysql-database.ts";
import { createScratchDatabase } from "./scratch-database.ts";
import { refuseOld } from "./usable-database.ts";

const notes = new EntitySchema<{ id: string }>({ name: "notes", columns: { id: { ...column.primaryId } } });
const migrations = [
  { name: "0001-initial", statements: ['CREATE TABLE "notes" ("id" VARCHAR(64) PRIMARY KEY)'], undo: null },
];
const KEY = "1".repeat(40);

test.each(["5.7.44", "10.5.29-MariaDB", "10.2.44-MariaDB-log"])("%s is too old, in words", (version) => {
  expect(() => refuseOld(version)).toThrow(
    expect.objectContaining({
      name: "ConfigError",
      message: expect.stringMatching(/^DATABASE_URL: the server is M.* needs MySQL 8\.0 or MariaDB 10\.6/),
    }),
  );
});

describeOnMysql("a database that Toolyard cannot use", (serverUrl) => {
  async function scratch(...statements: string[]) {
    const { url, drop } = await createScratchDatabase(serverUrl);
    const connection = await mysql.createConnection({ uri: url, multipleStatements: true });
    onTestFinished(async () => {
      await connection.end();
      await drop();
    });
    for (const statement of statements) await connection.query(statement);
    const tables = async () => {
      const [rows] = await connection.query<RowDataPacket[]>("SHOW TABLES");
      return rows.flatMap((row) => Object.values(row));
    };
    return { url, connection, tables };
  }
  /** As each process does at its start, and as a command does. */
  const uses = (url: string) => [
    () => requireSameKey({ url, ca: null, poolSize: 2 }, [KEY]),
    () => openMysqlDatabase({ url, name: "test", entities: [notes as EntitySchema], migrations }),
  ];
  const refused = (message: RegExp) =>
    expect.objectContaining({ name: "ConfigError", message: expect.stringMatching(message) });

  test("since it is another program's is refused by what is there, and nothing is made in it", async () => {
    const { url, connection, tables } = await scratch("CREATE TABLE users (id INT)", "CREATE TABLE posts (id INT)");
    const collation = async () => {
      const [[found]] = await connection.query<RowDataPacket[]>("SELECT @@collation_database AS collation");
      return String(found?.["collation"]);
    };
    const before = await collation();
    for (const use of uses(url))
      await expect(use()).rejects.toEqual(
        refused(/^DATABASE_URL: the database is another program's: it has tables such as posts/),
      );
    expect(await tables()).toEqual(["posts", "users"]);
    expect(await collation()).toBe(before);
  });

  test("since a table of another program's has the name of one of Toolyard's is refused in words", async () => {
    const { url } = await scratch("CREATE TABLE toolyard_key (id INT)", "CREATE TABLE notes (id INT)");
    const [, open] = uses(url);
    await expect(open?.()).rejects.toEqual(refused(/^DATABASE_URL: a table .* already exists .*another program/));
  });

  test("since its user may only read is refused by what it may not, and how to grant it", async () => {
    const user = `toolyard_reader_${process.pid}`;
    const { url, connection, tables } = await scratch();
    const name = new URL(url).pathname.slice(1);
    await connection.query(`CREATE USER ${user} IDENTIFIED BY 'a password'`);
    onTestFinished(async () => void (await connection.query(`DROP USER ${user}`)));
    await connection.query(`GRANT SELECT ON ${name}.* TO ${user}`);
    const own = Object.assign(new URL(url), { username: user, password: "a password" }).href;
    for (const use of uses(own)) {
      const error: unknown = await use().catch((thrown: unknown) => thrown);
      expect(error).toEqual(refused(new RegExp(`^DATABASE_URL: its user may not .*GRANT ALL ON ${name}\\.\\* TO`)));
      expect(String(error)).not.toContain(user);
    }
    expect(await tables()).toEqual([]);
  });

  test("since its server is away is waited for, which is said at once, and once", async () => {
    const { url } = await scratch();
    const { hostname, port } = new URL(serverUrl);
    const lines: string[] = [];
    const logger = createLogger({
      level: "info",
      name: "test",
      destination: { write: (line) => void lines.push(line) },
    });
    await withWayTo({ host: hostname, port: Number(port || 3306) }, async (way) => {
      await way.close();
      const own = Object.assign(new URL(url), { host: way.host }).href;
      const started = requireSameKey({ url: own, ca: null, poolSize: 2, logger }, [KEY]);
      await expect.poll(() => lines.join()).toMatch(/"code":"ECONNREFUSED".*it is waited for/);
      await way.open();
      await started;
    });
    expect(lines.filter((line) => line.includes("waited for"))).toHaveLength(1);
    expect(lines.at(-1)).toContain("answers");
  });
});
