import { rm, mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ODD_JSON, ODD_TEXTS } from "@toolyard/testing/port-contract.ts";
import { onEachDatabase } from "@toolyard/testing/sql-stores.ts";
import { EntitySchema } from "typeorm";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { column } from "../columns.ts";
import type { Database } from "../database.ts";
import { openDatabase } from "../open-database.ts";
import { tablesOf, type Row } from "../tables.ts";
import { createCopyMarks, type CopyMarks } from "./copy-marks.ts";
import { comparePart, copyPart, type Part, type PartTarget } from "./part.ts";
import { insertRaw, tablePart, tableTarget } from "./table-part.ts";

const mixed = new EntitySchema({
  name: "mixed",
  columns: {
    scope: { ...column.name, primary: true },
    at: { ...column.time, primary: true },
    text: { ...column.nullableText },
    data: { ...column.nullableJson },
    ratio: { ...column.nullableReal },
    isOpen: { ...column.flag },
  },
}) as EntitySchema;
const [table] = tablesOf([mixed]) as [ReturnType<typeof tablesOf>[number]];
const CREATE =
  'CREATE TABLE "mixed" ("scope" varchar(255), "at" bigint, "text" text, "data" text, "ratio" double, "isOpen" boolean, PRIMARY KEY ("scope", "at"))';
const work = { signal: new AbortController().signal, done: () => undefined };
const numbers = [0, -1, 0.1, 1 / 3, 1e-300, 1.7976931348623157e308, Number.MAX_SAFE_INTEGER, null];

/** Rows of every kind of value, whose keys differ in case, accents and length. */
function rowsOf(count: number): Row[] {
  const scopes = ["a", "A", "ä", "a ", "🙂", "z".repeat(255)];
  return Array.from({ length: count }, (_, index) => ({
    scope: scopes[index % scopes.length] ?? "",
    at: index * 1_000_000_007 + Date.UTC(2026, 0),
    text: index % 97 === 0 ? "x".repeat(200_000) : (ODD_TEXTS[index % ODD_TEXTS.length] ?? null),
    data: JSON.stringify(index % 50 === 0 ? ODD_JSON : { index }),
    ratio: numbers[index % numbers.length] ?? null,
    isOpen: index % 2,
  }));
}

onEachDatabase((name, open) => {
  describe(`a copy from SQLite to ${name}`, () => {
    let folder: string;
    let source: Database;
    let target: Database;
    let marks: CopyMarks;
    let closing: () => Promise<void>;
    beforeEach(async () => {
      folder = await mkdtemp(join(tmpdir(), "toolyard-copying-"));
      const migrations = [{ name: "0001-initial", statements: [CREATE] }];
      source = await openDatabase({ file: join(folder, "source.sqlite"), entities: [mixed], migrations });
      const opened = await open({ entities: [mixed] }, () => null);
      [target] = opened.databases;
      closing = opened.close;
      marks = await createCopyMarks(target);
    });
    afterEach(async () => {
      await source.close();
      await closing();
      await rm(folder, { recursive: true });
    });
    const parts = (): { from: Part; to: PartTarget } => ({
      from: tablePart(source.read, "store", table),
      to: tableTarget(target, "store", table, marks),
    });

    test("has the same values of every kind, however often it ends before or after a step", async () => {
      await source.transaction(({ manager }) => insertRaw(manager, table, rowsOf(1_000)));
      const { from, to } = parts();
      let steps = 0;
      for (let runs = 1; ; runs += 1) {
        // As a process that is killed: nothing of its memory is left.
        const dying: PartTarget = {
          ...to,
          async add(rows) {
            steps += 1;
            if (steps % 2 === 0) throw new Error("before");
            await to.add(rows);
            if (steps % 3 === 0) throw new Error("after");
          },
        };
        try {
          await copyPart(from, dying, work);
          expect(runs).toBeGreaterThan(2);
          break;
        } catch (error) {
          expect(String(error)).toMatch(/before|after/);
        }
      }
      await comparePart(from, to, work);
      expect(await to.count()).toBe(1_000);
    });

    test.each<[string, string, RegExp]>([
      ["one value less", `DELETE FROM "mixed" WHERE "scope" = 'A' AND "isOpen" = 1`, /100 rows, and its copy \d\d\./],
      ["another value", `UPDATE "mixed" SET "ratio" = 0.30000000000000004 WHERE "ratio" = 0.1`, /not all are the same/],
      ["another case", `UPDATE "mixed" SET "scope" = 'B' WHERE "scope" = 'A'`, /not all are the same/],
      ["no value", `UPDATE "mixed" SET "text" = NULL WHERE "text" = ''`, /not all are the same/],
    ])("with %s is not taken for the same", async (_what, change, message) => {
      await source.transaction(({ manager }) =>
        insertRaw(
          manager,
          table,
          rowsOf(100).map((row, index) => (index === 7 ? { ...row, text: "" } : row)),
        ),
      );
      const { from, to } = parts();
      await copyPart(from, to, work);
      await comparePart(from, to, work);
      await target.transaction(({ manager }) => manager.query(change));
      await expect(comparePart(from, to, work)).rejects.toThrow(message);
    });
  });
});
