import { expect, test } from "vitest";
import fc from "fast-check";
import { EntitySchema } from "typeorm";
import { column } from "./columns.ts";
import type { Database } from "./database.ts";
import { openDatabase } from "./open-database.ts";
import { observeStatements } from "./observed-statements.ts";
import { countByParent, readPageOfParts, readPagesByParent } from "./pages-by-parent.ts";

interface Leaf {
  id: string;
  tree: string;
  colour: string;
  number: number;
}

const leaves = new EntitySchema<Leaf>({
  name: "leaves",
  columns: {
    id: { ...column.primaryId },
    tree: { ...column.id },
    colour: { ...column.name },
    number: { ...column.integer },
  },
});
const statements = [
  'CREATE TABLE "leaves" ("id" varchar(64) PRIMARY KEY NOT NULL, "tree" varchar(64) NOT NULL, "colour" varchar(255) NOT NULL, "number" integer NOT NULL)',
];

const tree = fc.constantFrom("oak", "elm", "o'ak", "none");
const rows = fc
  .array(fc.record({ tree, colour: fc.constantFrom("red", "green") }), { maxLength: 30 })
  .map((drafts) =>
    drafts.map((draft, index): Leaf => ({ ...draft, id: `id-${String(index).padStart(2, "0")}`, number: 100 - index })),
  );

const page = fc.record({
  limit: fc.integer({ min: 1, max: 5 }),
  offset: fc.integer({ min: 0, max: 3 }),
  afterId: fc.option(fc.integer({ min: 0, max: 30 }).map((index) => `id-${String(index).padStart(2, "0")}`)),
});

async function withLeaves(stored: Leaf[], work: (database: Database) => Promise<void>): Promise<void> {
  const database = await openDatabase({
    file: ":memory:",
    entities: [leaves],
    migrations: [{ name: "0001-initial", statements }],
  });
  try {
    if (stored.length > 0) await database.transaction(({ manager }) => manager.insert(leaves, stored));
    await work(database);
  } finally {
    await database.close();
  }
}

test("a page of each parent is what a list of that parent alone would answer, and so is its count", async () => {
  await fc.assert(
    fc.asyncProperty(
      rows,
      fc.uniqueArray(tree),
      page,
      fc.option(fc.constantFrom("red", "green"), { nil: undefined }),
      (stored, parents, page, colour) =>
        withLeaves(stored, async (database) => {
          const repository = database.read.getRepository(leaves);
          const where = colour === undefined ? {} : { colour };
          const all = parents.map((parent) =>
            stored.filter((leaf) => leaf.tree === parent && (colour === undefined || leaf.colour === colour)),
          );
          expect(await readPagesByParent(repository, parents, page, { parentColumn: "tree", where })).toEqual(
            all.map((own) =>
              own
                .filter(({ id }) => page.afterId === null || id < page.afterId)
                .toReversed()
                .slice(page.offset, page.offset + page.limit + 1),
            ),
          );
          expect(await countByParent(repository, parents, { parentColumn: "tree", where })).toEqual(
            all.map((own) => own.length),
          );
        }),
    ),
  );
});

test("a page of parts is what filtering the list would answer", async () => {
  await fc.assert(
    fc.asyncProperty(
      rows,
      fc.uniqueArray(tree),
      fc.uniqueArray(fc.constantFrom("red", "green")),
      fc.option(fc.constantFrom(98, 99), { nil: undefined }),
      page,
      (stored, trees, colours, number, page) =>
        withLeaves(stored, async (database) => {
          const parts = { tree: trees, colour: colours };
          const where = number === undefined ? {} : { number };
          expect(await readPageOfParts(database.read.getRepository(leaves), page, { parts, where })).toEqual(
            stored
              .filter((leaf) => trees.some((each) => each === leaf.tree))
              .filter((leaf) => colours.some((each) => each === leaf.colour))
              .filter((leaf) => number === undefined || leaf.number === number)
              .filter(({ id }) => page.afterId === null || id < page.afterId)
              .toReversed()
              .slice(page.offset, page.offset + page.limit + 1),
          );
        }),
    ),
  );
});

test("pages go by another column where one is named", () =>
  withLeaves(
    [1, 2, 3].map((number) => ({ id: `id-${9 - number}`, tree: "oak", colour: "red", number })),
    async (database) => {
      const [page] = await readPagesByParent(
        database.read.getRepository(leaves),
        ["oak"],
        { limit: 5, offset: 0, afterId: "3" },
        { parentColumn: "tree", orderColumn: "number" },
      );
      expect(page?.map(({ number }) => number)).toEqual([2, 1]);
    },
  ));

test("a page far behind is reached in steps that each skip a bounded number of rows", () =>
  withLeaves([], async (database) => {
    const count = 12_000;
    await database.transaction(({ manager }) =>
      manager.query(
        `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})
          INSERT INTO leaves SELECT printf('id-%05d', i), CASE WHEN i % 3 = 0 THEN 'oak' ELSE 'elm' END, 'red', i FROM n`,
      ),
    );
    const limits: number[] = [];
    const end = observeStatements(({ parameters }) =>
      limits.push(Math.max(...parameters.map(Number).filter(Number.isFinite))),
    );
    const read = (offset: number) =>
      readPageOfParts(
        database.read.getRepository(leaves),
        { limit: 2, afterId: null, offset },
        { parts: { tree: ["oak", "elm"], colour: ["red", "green"] } },
      );
    try {
      expect((await read(11_000)).map(({ number }) => number)).toEqual([1_000, 999, 998]);
      expect(limits).toHaveLength(3);
      expect(Math.max(...limits)).toBeLessThanOrEqual(5_003);
      expect(await read(count)).toEqual([]);
      expect(await read(10 * count)).toEqual([]);
    } finally {
      end();
    }
  }));
