import { EntitySchema, LessThan } from "typeorm";
import { afterEach, beforeEach, expect, test } from "vitest";
import { deleteInChunks, inChunks } from "./chunks.ts";
import { column } from "./columns.ts";
import type { Database } from "./database.ts";
import { openDatabase } from "./open-database.ts";
import { CHUNK_ROWS } from "./parts.ts";

const Old = new EntitySchema<{ day: number; name: string; at: number }>({
  name: "old",
  columns: {
    day: { ...column.time, primary: true },
    name: { ...column.name, primary: true },
    at: { ...column.time },
  },
});
const ROWS = 3 * CHUNK_ROWS + 7;
let database: Database;
let transactions = 0;
/** Tells how many transactions there were. */
const counted: Pick<Database, "transaction"> = {
  transaction: (work) => {
    transactions += 1;
    return database.transaction(work);
  },
};

beforeEach(async () => {
  transactions = 0;
  database = await openDatabase({
    file: ":memory:",
    entities: [Old],
    migrations: [
      {
        name: "0001-initial",
        statements: ['CREATE TABLE "old" ("day" bigint, "name" varchar, "at" bigint, PRIMARY KEY ("day", "name"))'],
      },
    ],
  });
  await database.transaction(({ manager }) =>
    manager.query(
      `WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ${ROWS + 9})
       INSERT INTO old SELECT i % 7, 'name-' || i, i FROM n`,
    ),
  );
});
afterEach(() => database.close());

test("all that matches is deleted, and nothing else, in transactions of a bounded number of rows", async () => {
  expect(await deleteInChunks(counted, Old, { at: LessThan(ROWS) })).toBe(ROWS);
  expect(await database.read.countBy(Old, {})).toBe(10);
  expect(transactions).toBe(4);
  expect(await deleteInChunks(counted, Old, { at: LessThan(ROWS) })).toBe(0);
});

test("between two chunks others have their turn: timers, requests and other transactions", async () => {
  const seen: number[] = [];
  const deleting = deleteInChunks(database, Old, { at: LessThan(ROWS) });
  const look = async (): Promise<void> => {
    seen.push(await database.transaction(({ manager }) => manager.countBy(Old, {})));
    if (seen.at(-1) !== 10) setImmediate(() => void look());
  };
  setImmediate(() => void look());
  await deleting;
  const between = new Set(seen.filter((count) => count > 10 && count < ROWS + 10));
  expect(between.size).toBeGreaterThan(1);
});

test("it ends between two chunks when it is told to, and goes on another time", async () => {
  const ended = new AbortController();
  await inChunks(
    counted,
    async ({ manager }, limit) => {
      ended.abort();
      await manager.query(`DELETE FROM old WHERE rowid IN (SELECT rowid FROM old ORDER BY rowid LIMIT ${limit})`);
      return limit;
    },
    ended,
  );
  expect(transactions).toBe(1);
  expect(await database.read.countBy(Old, {})).toBe(ROWS + 10 - CHUNK_ROWS);
  expect(await deleteInChunks(counted, Old, { at: LessThan(ROWS) }, ended)).toBe(0);
  expect(await deleteInChunks(counted, Old, { at: LessThan(ROWS) })).toBeGreaterThan(0);
  expect(await database.read.countBy(Old, {})).toBe(10);
});
