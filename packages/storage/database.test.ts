import { copyFileSync, existsSync, readFileSync, statSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EntitySchema } from "typeorm";
import { afterEach, beforeEach, expect, test } from "vitest";
import { column } from "./columns.ts";
import type { Database } from "./database.ts";
import { openDatabase } from "./open-database.ts";
import { observeStatements, type ObservedStatement } from "./observed-statements.ts";

const Counter = new EntitySchema<{ id: string; value: number; at: number; data: object | null }>({
  name: "counters",
  columns: {
    id: { ...column.primaryId },
    value: { ...column.integer },
    at: { ...column.time },
    data: { ...column.nullableJson },
  },
});
const migrations = [
  {
    name: "0001-initial",
    statements: [
      'CREATE TABLE "counters" ("id" varchar(64) PRIMARY KEY NOT NULL, "value" integer NOT NULL, "at" bigint NOT NULL, "data" text)',
    ],
  },
];

let folder: string;
let database: Database;
const open = () => openDatabase({ file: join(folder, "test.sqlite"), entities: [Counter], migrations });

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "toolyard-storage-"));
  database = await open();
});
afterEach(async () => {
  await database.close();
  await rm(folder, { recursive: true });
});

test("transactions that begin at once run one after the other, so that none overwrites another's change", async () => {
  await database.transaction(({ manager }) => manager.insert(Counter, { id: "a", value: 0, at: 1, data: null }));
  await Promise.all(
    Array.from({ length: 50 }, () =>
      database.transaction(async ({ manager }) => {
        const { value } = await manager.findOneByOrFail(Counter, { id: "a" });
        await new Promise((resolve) => setImmediate(resolve));
        await manager.update(Counter, { id: "a" }, { value: value + 1 });
      }),
    ),
  );
  expect((await database.read.findOneByOrFail(Counter, { id: "a" })).value).toBe(50);
});

/** Of the event loop, while all of `work` runs that is begun at once. */
async function turnsDuring(work: readonly Promise<unknown>[]): Promise<number> {
  let turns = 0;
  let counting = true;
  const count = (): void => {
    turns += 1;
    if (counting) setImmediate(count);
  };
  setImmediate(count);
  await Promise.all(work);
  counting = false;
  return turns;
}

test("between many transactions that wait for each other, others have their turns", async () => {
  const all = Array.from({ length: 500 }, (_, index) =>
    database.transaction(({ manager }) =>
      manager.insert(Counter, { id: `many-${index}`, value: 0, at: 1, data: null }),
    ),
  );
  expect(await turnsDuring(all)).toBeGreaterThan(1);
});

test("between many reads that begin at once, others have their turns", async () => {
  const statement =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT max(i) FROM n";
  const all = Array.from({ length: 100 }, () => database.read.query(statement));
  // Some milliseconds each.
  expect(await turnsDuring(all)).toBeGreaterThan(5);
});

test("a transaction that throws changes nothing and does not stop the next", async () => {
  const failing = database.transaction(async ({ manager }) => {
    await manager.insert(Counter, { id: "a", value: 1, at: 1, data: null });
    throw new Error("no");
  });
  const next = database.transaction(({ manager }) => manager.insert(Counter, { id: "b", value: 1, at: 1, data: null }));
  await expect(failing).rejects.toThrow("no");
  await next;
  expect((await database.read.find(Counter)).map(({ id }) => id)).toEqual(["b"]);
});

test("readers do not see what is not committed", async () => {
  await database.transaction(async ({ manager }) => {
    await manager.insert(Counter, { id: "a", value: 1, at: 1, data: null });
    expect(await database.read.count(Counter)).toBe(0);
  });
  expect(await database.read.count(Counter)).toBe(1);
});

test("afterCommit runs after the commit, and never when the transaction was rolled back", async () => {
  const ran: string[] = [];
  await database.transaction(async ({ manager, afterCommit }) => {
    afterCommit(() => ran.push("committed"));
    await manager.insert(Counter, { id: "a", value: 1, at: 1, data: null });
    expect(ran).toEqual([]);
  });
  await expect(
    database.transaction(async ({ afterCommit }) => {
      afterCommit(() => ran.push("rolled back"));
      throw new Error("no");
    }),
  ).rejects.toThrow();
  expect(ran).toEqual(["committed"]);
});

test("two openings of the same file write in turn instead of failing", async () => {
  const other = await open();
  try {
    const insert = (target: Database, id: string) =>
      target.transaction(({ manager }) => manager.insert(Counter, { id, value: 1, at: 1, data: null }));
    await Promise.all(Array.from({ length: 20 }, (_, index) => insert(index % 2 ? database : other, `row-${index}`)));
    expect(await database.read.count(Counter)).toBe(20);
  } finally {
    await other.close();
  }
});

test("statements are told with their file, those of transactions too, until the observer ends it", async () => {
  const seen: ObservedStatement[] = [];
  const end = observeStatements((statement) => seen.push(statement));
  await database.read.findOneBy(Counter, { id: "a" });
  await database.transaction(({ manager }) => manager.update(Counter, { id: "a" }, { value: 1 }));
  end();
  await database.read.find(Counter);
  expect(seen.map(({ sql }) => sql.split(" ")[0])).toEqual(["SELECT", "BEGIN", "UPDATE", "COMMIT"]);
  expect(seen[0]).toMatchObject({ file: join(folder, "test.sqlite"), parameters: ["a"] });
});

test("times beyond 32 bits and JSON come back as they were", async () => {
  const row = { id: "a", value: 1, at: 1_893_456_000_123, data: { nested: ["ä", null, 1.5] } };
  await database.transaction(({ manager }) => manager.insert(Counter, row));
  expect(await database.read.findOneBy(Counter, { id: "a" })).toEqual(row);
});

test("migrations run once, and a failing one leaves nothing half-made", async () => {
  await database.close();
  const broken = { name: "0002-broken", statements: ['CREATE TABLE "half" ("id" integer)', "NOT SQL"] };
  await expect(
    openDatabase({ file: join(folder, "test.sqlite"), entities: [Counter], migrations: [...migrations, broken] }),
  ).rejects.toThrow();
  database = await open();
  const tables: { name: string }[] = await database.read.query("SELECT name FROM sqlite_master WHERE type = 'table'");
  expect(tables.map(({ name }) => name)).not.toContain("half");
});

test("after it was closed the file alone holds everything", async () => {
  await database.transaction(({ manager }) => manager.insert(Counter, { id: "a", value: 7, at: 1, data: null }));
  await database.close();
  expect(existsSync(join(folder, "test.sqlite-wal")) ? statSync(join(folder, "test.sqlite-wal")).size : 0).toBe(0);
  copyFileSync(join(folder, "test.sqlite"), join(folder, "copy.sqlite"));
  database = await openDatabase({ file: join(folder, "copy.sqlite"), entities: [Counter], migrations });
  expect((await database.read.findOneByOrFail(Counter, { id: "a" })).value).toBe(7);
});

test("a file that newer code migrated is refused in words that name both, and is not touched", async () => {
  await database.close();
  const newer = { name: "0002-rename-things", statements: ['ALTER TABLE "counters" ADD "more" integer'] };
  const file = join(folder, "test.sqlite");
  await (await openDatabase({ file, entities: [Counter], migrations: [...migrations, newer] })).close();
  const before = readFileSync(file);
  await expect(open()).rejects.toMatchObject({
    code: "PRECONDITION_FAILED",
    message: expect.stringMatching(
      /^test\.sqlite .*newer Toolyard \(0\.1\.0, migration 0002-rename-things\).*\(0\.1\.0, .* 0001-initial\).*restore a backup/,
    ),
  });
  expect(readFileSync(file)).toEqual(before);
  database = await openDatabase({ file, entities: [Counter], migrations: [...migrations, newer] });
});
