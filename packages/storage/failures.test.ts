import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import LibsqlDatabase from "libsql";
import { afterAll, beforeAll, expect, test } from "vitest";
import { databaseFailureOf, databaseUnavailable } from "./failures.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "toolyard-failures-"));
});
afterAll(() => rm(folder, { recursive: true }));

function errorOf(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  throw new Error("It did not fail.");
}

test("what SQLite says has a name of ours", async () => {
  const file = join(folder, "names.sqlite");
  const database = new LibsqlDatabase(file);
  database.exec("CREATE TABLE t (a PRIMARY KEY, b UNIQUE, c NOT NULL); INSERT INTO t VALUES (1, 1, 1)");
  const failure = (sql: string) => databaseFailureOf(errorOf(() => database.exec(sql)));
  expect(failure("INSERT INTO t VALUES (1, 2, 1)")).toBe("unique-violation");
  expect(failure("INSERT INTO t VALUES (2, 1, 1)")).toBe("unique-violation");
  // Mistakes are no failures of the database.
  expect(failure("INSERT INTO t VALUES (3, 3, NULL)")).toBeNull();
  expect(failure("INSERT INTO nothing VALUES (1)")).toBeNull();
  const other = new LibsqlDatabase(file);
  database.exec("BEGIN IMMEDIATE");
  expect(databaseFailureOf(errorOf(() => other.exec("BEGIN IMMEDIATE")))).toBe("conflict");
  database.exec("ROLLBACK");
  other.close();
  database.exec("CREATE TABLE large (x); PRAGMA max_page_count = 5");
  expect(failure("INSERT INTO large VALUES (zeroblob(100000))")).toBe("no-space");
  database.exec("PRAGMA query_only = ON");
  expect(failure("INSERT INTO t VALUES (4, 4, 4)")).toBe("not-writable");
  database.close();
  const damaged = join(folder, "damaged.sqlite");
  await writeFile(damaged, "no database".repeat(1_000));
  expect(databaseFailureOf(errorOf(() => new LibsqlDatabase(damaged).exec("SELECT * FROM sqlite_master")))).toBe(
    "damaged",
  );
});

// As https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html, mysql2 and Node name them.
test.each([
  ["ER_DUP_ENTRY", "unique-violation"],
  ["ER_LOCK_DEADLOCK", "conflict"],
  ["ER_LOCK_WAIT_TIMEOUT", "conflict"],
  ["PROTOCOL_CONNECTION_LOST", "lost-connection"],
  ["ER_CON_COUNT_ERROR", "lost-connection"],
  ["ER_TOO_MANY_USER_CONNECTIONS", "lost-connection"],
  ["ER_USER_LIMIT_REACHED", "lost-connection"],
  ["ECONNREFUSED", "lost-connection"],
  ["ER_DISK_FULL", "no-space"],
  ["ER_OPTION_PREVENTS_STATEMENT", "not-writable"],
  ["ER_NO_SUCH_TABLE", null],
  ["ER_DATA_TOO_LONG", null],
  [undefined, null],
])("%s is %s", (code, failure) => {
  expect(databaseFailureOf(Object.assign(new Error("failed"), { code }))).toBe(failure);
});

test.each([
  ["ER_LOCK_DEADLOCK", "UPSTREAM_UNAVAILABLE", /Try again/, 2],
  ["ECONNREFUSED", "UPSTREAM_UNAVAILABLE", /Nothing was changed/, 2],
  ["PROTOCOL_SEQUENCE_TIMEOUT", "UPSTREAM_UNAVAILABLE", /Nothing was changed/, 2],
  ["SQLITE_FULL", "CAPACITY_EXHAUSTED", /Nothing was changed.*Make room/, undefined],
  ["ER_OPTION_PREVENTS_STATEMENT", "UPSTREAM_UNAVAILABLE", /takes no changes/, undefined],
  ["SQLITE_IOERR_WRITE", "UPSTREAM_UNAVAILABLE", /disk/, undefined],
])("%s is told to callers as %s", (driverCode, code, message, retryAfterSeconds) => {
  const error = Object.assign(new Error("of 10.0.0.1"), { code: driverCode });
  const told = databaseUnavailable(error);
  expect(told).toMatchObject({ code, message: expect.stringMatching(message), cause: error });
  expect(told?.extensions["retryAfterSeconds"]).toBe(retryAfterSeconds);
  expect(databaseFailureOf(told)).toBe(databaseFailureOf(error));
});

test("of a commit whose answer was lost nobody is told that nothing was changed", () => {
  const error = Object.assign(new Error(), { code: "PROTOCOL_CONNECTION_LOST" });
  const told = databaseUnavailable(error, { mayBeDone: true });
  expect(told?.message).toMatch(/not known: look/);
  expect(told?.extensions).not.toHaveProperty("retryAfterSeconds");
});

test("mistakes are told to nobody", () => {
  for (const code of ["ER_NO_SUCH_TABLE", "SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CORRUPT"])
    expect(databaseUnavailable(Object.assign(new Error(), { code }))).toBeNull();
});

test("what is no error is no failure", () => {
  for (const thrown of [
    null,
    undefined,
    "SQLITE_BUSY",
    { code: "SQLITE_BUSY" },
    Object.assign(new Error(), { code: 5 }),
  ])
    expect(databaseFailureOf(thrown)).toBeNull();
});
