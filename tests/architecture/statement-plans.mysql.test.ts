import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ObservedStatement } from "@toolyard/storage";
import { createScratchDatabase, type ScratchDatabase } from "@toolyard/storage/mysql/scratch-database.ts";
import { statementsOf } from "@toolyard/testing";
import { noMysql } from "@toolyard/testing/sql-stores.ts";
import mysql, { type RowDataPacket } from "mysql2/promise";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fill } from "./fixtures/filling.ts";
import { openInstallation } from "./fixtures/installation.ts";
import { makeManyRows } from "./fixtures/many-rows.mysql.ts";
import { performOperations, subjectId } from "./fixtures/store-operations.ts";

/** Rows that a statement may sort: so few that the optimizer does not look for an order. */
const FEW_ROWS = 20;

/** Statements that read or sort more than they answer, and why they may. */
const ALLOWED: [RegExp, string][] = [
  [
    /FROM `tools` `tool` WHERE `tool`\.`deletedAt` IS NULL ORDER BY/,
    "deleted tools are passed over: it has no partial index",
  ],
  [
    /^SELECT .* FROM `hosts` `hosts` (ORDER BY|WHERE .*`heardAt` <)/,
    "there are few hosts, and all of them are asked for",
  ],
  [/GROUP BY `task`\.`status`$/, "the metrics count rows by the index alone"],
  [/WHERE `session`\.`userId` = \? .*ORDER BY `token`\.`issuedAt`/, "it sorts one user's tokens when they are revoked"],
];

interface Step extends RowDataPacket {
  table: string | null;
  type: string | null;
  key: string | null;
  rows: number | null;
  Extra: string | null;
}

describe.skipIf(noMysql !== null)(`plans on MySQL${noMysql === null ? "" : ` (skipped: ${noMysql})`}`, () => {
  const performed: { operation: string; statements: ObservedStatement[] }[] = [];
  let dataDir: string;
  let scratch: ScratchDatabase;
  let server: mysql.Connection;

  beforeAll(async () => {
    dataDir = await mkdtemp(join(tmpdir(), "toolyard-plans-"));
    scratch = await createScratchDatabase(process.env["TEST_MYSQL_URL"] ?? "");
    const place = { dataDir, database: { url: scratch.url, ca: null, poolSize: 3 } };
    {
      await using filled = await openInstallation({ ...place, start: true });
      await fill(filled, 2);
    }
    await performOperations(place, async (operation, work) => {
      performed.push({ operation, statements: await statementsOf(async () => work()) });
    });
    server = await mysql.createConnection(scratch.url);
    await server.query("SET SESSION sql_mode = 'ANSI_QUOTES'");
    await makeManyRows(server, subjectId);
  });
  afterAll(async () => {
    await server.end();
    await scratch.drop();
    await rm(dataDir, { recursive: true, force: true });
  });

  async function planOf({ sql, parameters }: ObservedStatement): Promise<Step[]> {
    const [steps] = await server.query<Step[]>(`EXPLAIN ${sql}`, [...parameters]);
    return steps;
  }

  /** Whether the table has an index by which the statement needs neither a scan nor a sort: statistics of small tables mislead. */
  async function couldUseAnIndex({ sql, parameters }: ObservedStatement, alias: string): Promise<boolean> {
    const named = new RegExp(`(?:FROM|JOIN) ["\`](\\w+)["\`] ["\`]?${alias}["\`]?(?!\\w)`, "g");
    const table = named.exec(sql)?.[1];
    if (table === undefined) return false;
    const [indexes] = await server.query<RowDataPacket[]>(`SHOW INDEX FROM "${table}"`);
    for (const name of new Set(indexes.map(({ Key_name }) => String(Key_name)))) {
      const forced = sql.replaceAll(named, (found) => `${found} FORCE INDEX ("${name}")`);
      const steps = await planOf({ sql: forced, parameters, file: "" });
      if (steps.every((step) => faultOf(sql, step) === null)) return true;
    }
    return false;
  }

  async function faultsOf(statement: ObservedStatement): Promise<string[]> {
    const faults: string[] = [];
    for (const step of await planOf(statement)) {
      const fault = faultOf(statement.sql, step);
      if (fault !== null && !(await couldUseAnIndex(statement, step.table ?? ""))) faults.push(fault);
    }
    return faults;
  }

  test("no operation of a store scans a table, or sorts what it has found, but those that say why", async () => {
    const known = new Set<string>();
    const faulty: { operation: string; sql: string; faults: string[] }[] = [];
    for (const { operation, statements } of performed)
      for (const statement of statements) {
        const { sql } = statement;
        if (known.has(sql) || !/^\s*(SELECT|UPDATE|DELETE|WITH)\b/i.test(sql)) continue;
        known.add(sql);
        const faults = await faultsOf(statement);
        if (faults.length > 0) faulty.push({ operation, sql, faults });
      }
    const allowed = ({ sql }: { sql: string }) => ALLOWED.some(([pattern]) => pattern.test(sql));
    expect(faulty.filter((each) => !allowed(each))).toEqual([]);
    expect(ALLOWED.filter(([pattern]) => ![...known].some((sql) => pattern.test(sql)))).toEqual([]);
  });
});

/** https://dev.mysql.com/doc/refman/8.4/en/explain-output.html */
function faultOf(sql: string, { table, type, key, rows, Extra }: Step): string | null {
  const extra = Extra ?? "";
  // What was found by the parts of a statement, or given to it; and so little that any plan is good.
  if (table === null || table.startsWith("<") || extra.includes("Table function")) return null;
  if (Number(rows) <= FEW_ROWS) return null;
  if (extra.includes("Using filesort")) return `${table}: sorted`;
  const isCount = /^SELECT (COUNT\((\*|1)\)|COUNT\(DISTINCT)/i.test(sql);
  const isFirst = /\bLIMIT \d/.test(sql) && !/\bWHERE\b/.test(sql);
  if (type === "ALL") return `${table}: scanned`;
  if (type === "index" && !isFirst && !(isCount && extra.includes("Using index"))) return `${table}: scanned by ${key}`;
  return null;
}
