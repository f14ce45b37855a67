import { expect, test } from "vitest";
import { createLoaderByArguments } from "./loader-by-arguments.ts";

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
