import { expect, test } from "vitest";
import { turns } from "@toolyard/testing/turns.ts";
import type { SqlTransaction } from "./database.ts";
import { createGroupCommit } from "./group-commit.ts";

interface Item {
  n: number;
  size?: number;
  fails?: Error;
}

/** A database whose transactions end when they are told to. */
function createFixture({ maxSize = 100 } = {}) {
  const groups: number[][] = [];
  let begun = 0;
  let held: Promise<void> = Promise.resolve();
  const commit = createGroupCommit<Item>({
    database: {
      async transaction(work) {
        begun += 1;
        await held;
        return work({} as SqlTransaction); // not looked into here
      },
    },
    async work(_tx, items) {
      groups.push(items.map(({ n }) => n));
      for (const { fails } of items) if (fails) throw fails;
    },
    sizeOf: ({ size = 1 }) => size,
    maxSize,
  });
  return { groups, commit, begun: () => begun, hold: (until: Promise<void>) => void (held = until) };
}

test("an item alone is done at once; those that come meanwhile are the next transaction, in their order", async () => {
  const { groups, commit, begun, hold } = createFixture();
  const free = Promise.withResolvers<void>();
  hold(free.promise);
  const first = commit({ n: 0 });
  await expect.poll(begun).toBe(1);
  const others = [1, 2, 3].map((n) => commit({ n }));
  free.resolve();
  await Promise.all([first, ...others]);
  expect(groups).toEqual([[0], [1, 2, 3]]);
});

test("an item that may wait is of the next transaction that another makes, and else has one of its own after its time", async () => {
  const { groups, commit } = createFixture();
  const patient = [commit({ n: 0 }, 60_000), commit({ n: 1 }, 60_000)];
  await turns(20);
  expect(groups).toEqual([]);
  await Promise.all([...patient, commit({ n: 2 })]);
  expect(groups).toEqual([[0, 1, 2]]);
  await commit({ n: 3 }, 1);
  expect(groups).toEqual([[0, 1, 2], [3]]);
});

test("an item that may wait is of no transaction that has begun, and waits for the next", async () => {
  const { groups, commit, begun, hold } = createFixture();
  const free = Promise.withResolvers<void>();
  hold(free.promise);
  const first = commit({ n: 0 });
  await expect.poll(begun).toBe(1);
  const patient = commit({ n: 1 }, 60_000);
  free.resolve();
  await first;
  await turns(20);
  expect(groups).toEqual([[0]]);
  await Promise.all([patient, commit({ n: 2 })]);
  expect(groups).toEqual([[0], [1, 2]]);
});

test("those who ask again when they are answered are of one transaction again", async () => {
  const { groups, commit } = createFixture();
  const producer = async (n: number) => {
    for (let round = 0; round < 3; round += 1) await commit({ n });
  };
  await Promise.all([0, 1, 2].map(producer));
  expect(groups).toEqual([
    [0, 1, 2],
    [0, 1, 2],
    [0, 1, 2],
  ]);
});

test("a group ends before it is too large; an item that is too large is one alone", async () => {
  const { groups, commit } = createFixture({ maxSize: 5 });
  const sizes = [2, 3, 1, 9, 9, 4, 1];
  await Promise.all(sizes.map((size, n) => commit({ n, size })));
  expect(groups).toEqual([[0, 1], [2], [3], [4], [5, 6]]);
});

test("an item that cannot be done fails alone, and the others are done", async () => {
  const { groups, commit } = createFixture();
  const fails = new Error("It is no row.");
  const results = await Promise.allSettled([commit({ n: 0 }), commit({ n: 1, fails }), commit({ n: 2 })]);
  expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  expect(groups.slice(1)).toEqual([[0], [1], [2]]);
  await commit({ n: 3 });
});

test("when the database fails, so do all, and nothing is done again: nobody knows whether it was committed", async () => {
  const { groups, commit } = createFixture();
  const fails = Object.assign(new Error("It is gone."), { code: "PROTOCOL_CONNECTION_LOST" });
  const results = await Promise.allSettled([commit({ n: 0 }), commit({ n: 1, fails })]);
  expect(results.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  expect(groups).toEqual([[0, 1]]);
});
