import { expect, test } from "vitest";
import type { Row, RowKey } from "../tables.ts";
import { splitPart, type Apart } from "./apart.ts";
import { comparePart, copyPart, type PartTarget } from "./part.ts";

const work = { signal: new AbortController().signal, done: () => undefined };

/** A table in memory, two rows at a time. */
function partOf(rows: Row[]): PartTarget {
  return {
    name: "tasks",
    count: async () => rows.length,
    async *read(after: RowKey | null) {
      const left = rows.filter(({ id }) => after === null || String(id) > String(after[0]));
      for (let start = 0; start < left.length; start += 2) yield left.slice(start, start + 2);
    },
    keyOf: ({ id }) => [id ?? null],
    reached: async () => null,
    add: async (added) => void rows.push(...added),
  };
}

test("what rows have themselves goes to where it is kept apart, and is compared there; the rest of them stays as it is", async () => {
  const kept = new Map<string, Row>();
  const apart: Apart = {
    reference: "resultId",
    columns: ["result"],
    at: "finishedAt",
    put: async (rows) => {
      for (const row of rows) kept.set(String(row["id"]), row);
    },
    read: async (ids) => new Map([...kept].filter(([id]) => ids.includes(id))),
  };
  const huge = "x".repeat(5_000_000);
  const source = partOf([
    { id: "1", finishedAt: 7, resultId: null, result: '{"found":1}', kind: "a" },
    { id: "2", finishedAt: null, resultId: null, result: null, kind: "b" },
    { id: "3", finishedAt: 8, resultId: "there already", result: null, kind: "c" },
    { id: "4", finishedAt: 9, resultId: null, result: huge, kind: "d" },
    { id: "5", finishedAt: null, resultId: null, result: "1", kind: "e" },
  ]);
  const { rows, contents } = splitPart(source, apart);
  const copied: Row[] = [];
  const target = partOf(copied);
  const compare = async () => {
    await comparePart(contents.from, contents.to, work);
    await comparePart(rows, target, work);
  };
  // Killed in between, it is done again.
  for (let time = 0; time < 2; time += 1) await copyPart(contents.from, contents.to, work);
  await copyPart(rows, target, work);
  await compare();
  expect([...kept.values()]).toEqual([{ id: "1", finishedAt: 7, result: '{"found":1}' }]);
  expect(copied).toEqual([
    { id: "1", finishedAt: 7, resultId: "1", result: null, kind: "a" },
    { id: "2", finishedAt: null, resultId: null, result: null, kind: "b" },
    { id: "3", finishedAt: 8, resultId: "there already", result: null, kind: "c" },
    { id: "4", finishedAt: 9, resultId: null, result: huge, kind: "d" },
    { id: "5", finishedAt: null, resultId: null, result: "1", kind: "e" },
  ]);
  kept.set("1", { id: "1", finishedAt: 7, result: "other" });
  await expect(compare()).rejects.toThrow(/tasks \(resultId\) has 5 rows, as its copy, but not all are the same/);
  kept.delete("1");
  await expect(compare()).rejects.toThrow(/not all are the same/);
});
