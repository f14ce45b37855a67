import { expect, test } from "vitest";
import { createLoaderByArguments } from "./loader-by-arguments.ts";
import { createLoader, ROWS_AT_ONCE } from "./loader.ts";

test("parents that are asked with equal arguments are read together, each once; other arguments are another read", async () => {
  const reads: [readonly string[], object][] = [];
  const loader = createLoaderByArguments(async (parents, args: { first: number; after?: string | null }) => {
    reads.push([parents, args]);
    return parents.map((parent) => `${parent}:${args.first}`);
  });
  expect(
    await Promise.all([
      loader.load("a", { first: 1, after: null }),
      loader.load("b", { after: null, first: 1 }),
      loader.load("a", { first: 1, after: null }),
      loader.load("a", { first: 2 }),
    ]),
  ).toEqual(["a:1", "b:1", "a:1", "a:2"]);
  expect(reads).toEqual([
    [["a", "b"], { first: 1, after: null }],
    [["a"], { first: 2 }],
  ]);
});

test("of parents that may have many rows, so many are read together as bound the rows", async () => {
  const reads: number[] = [];
  const loader = createLoaderByArguments(
    async (parents, _args: { first: number }) => {
      reads.push(parents.length);
      return [...parents];
    },
    ({ first }) => first,
  );
  const parents = Array.from({ length: 100 }, (_, index) => String(index));
  const loadAll = (first: number) => Promise.all(parents.map((parent) => loader.load(parent, { first })));
  expect(await loadAll(5)).toEqual(parents);
  expect(reads.splice(0)).toEqual([100]);
  expect(await loadAll(100)).toEqual(parents);
  expect(Math.max(...reads) * 100).toBeLessThanOrEqual(ROWS_AT_ONCE);
  reads.length = 0;
  // One parent is read at once whatever it may have.
  await loadAll(10 * ROWS_AT_ONCE);
  expect(reads).toEqual(parents.map(() => 1));
});

test("however many keys are asked for at once, so many are read together as bound the rows", async () => {
  const reads: number[] = [];
  const loader = createLoader<{ id: string }, string>(
    async (keys) => {
      reads.push(keys.length);
      return keys.map(({ id }) => id);
    },
    { idOf: ({ id }) => id },
  );
  const ids = Array.from({ length: 3 * ROWS_AT_ONCE }, (_, index) => String(index));
  expect(await Promise.all([...ids, ...ids].map((id) => loader.load({ id })))).toEqual([...ids, ...ids]);
  expect(reads).toEqual([ROWS_AT_ONCE, ROWS_AT_ONCE, ROWS_AT_ONCE]);
});
