import { createEventLog, createInProcessBus } from "@toolyard/events";
import type { Rows } from "@toolyard/service-kit";
import { openDatabase, readMigrations, type Database } from "@toolyard/storage";
import { dataOf, statementsOf } from "@toolyard/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { entities, migrationsFolder, toolEventSchema } from "./database.ts";
import { CREATE, UPDATE, createToolsFixture, developer, stdioLaunch, viewer } from "./fixtures/subgraph.ts";
import type { ToolFilter, ToolStore } from "./tool-store.ts";
import { createSqlToolStore } from "./tool-store.sql.ts";
import type { ToolEventPayload } from "./tool-store.ts";

test.each([
  ["rows, when only they are selected", "edges { node { id } } pageInfo { hasNextPage }", 1, 0],
  ["the count, when only that is", "totalCount", 0, 1],
  ["both, when both are", "totalCount edges { cursor }", 1, 1],
])("a page of tools reads %s", async (_what, selection, pages, counts) => {
  await using fixture = await createToolsFixture();
  const input = { name: "Tool", description: "", tags: ["t"], launch: stdioLaunch };
  await dataOf(fixture.subgraph, CREATE, { input }, developer);
  const query = `{ tools(tag: "t") { ${selection} } }`;
  const statements = await statementsOf(() => dataOf(fixture.subgraph, query, {}, viewer));
  expect(statements.filter(({ sql }) => !sql.includes("COUNT("))).toHaveLength(pages);
  expect(statements.filter(({ sql }) => sql.includes("COUNT("))).toHaveLength(counts);
});

test("what a page of tools shows of each is read for all of them at once", async () => {
  await using fixture = await createToolsFixture();
  const query = `query ($first: Int) { tools(first: $first) { totalCount edges { node { slug author { id } launch { __typename } configSchema
    currentVersion { number launch { __typename } } first: version(number: 1) { digest } second: version(number: 2) { digest }
    versions(first: 5) { totalCount pageInfo { hasNextPage } edges { node { number createdBy { id } launch { __typename } } } } } } } }`;
  for (let n = 1; n <= 12; n++) {
    const input = { name: "Tool", description: "", launch: stdioLaunch };
    const { createTool } = await dataOf<{ createTool: { id: string } }>(fixture.subgraph, CREATE, { input }, developer);
    for (let version = 2; version <= n; version++)
      await dataOf(fixture.subgraph, UPDATE, { id: createTool.id, input: { name: `Tool ${version}` } }, developer);
  }
  type Answer = {
    tools: { edges: { node: { versions: { totalCount: number; edges: { node: { number: number } }[] } } }[] };
  };
  const counts: number[] = [];
  for (const first of [1, 3, 12]) {
    const statements = await statementsOf(async () => {
      const { tools } = await dataOf<Answer>(fixture.subgraph, query, { first }, viewer);
      expect(
        tools.edges.map(({ node: { versions } }) => [
          versions.totalCount,
          versions.edges.map(({ node }) => node.number),
        ]),
      ).toEqual(
        Array.from({ length: first }, (_, index) => [
          12 - index,
          Array.from({ length: Math.min(5, 12 - index) }, (_each, place) => 12 - index - place),
        ]),
      );
    });
    counts.push(statements.length);
  }
  // The page and its count, versions by id, by each number, a page of versions, and their counts; tools of versions.
  expect(counts).toEqual(counts.map(() => counts[0]));
  expect(counts[0]).toBeLessThanOrEqual(8);
});

describe("among many tools, of which the newest half is deleted", () => {
  const MANY = 12_000;
  let database: Database;
  let store: ToolStore;
  beforeAll(async () => {
    database = await openDatabase({ file: ":memory:", entities, migrations: readMigrations(migrationsFolder) });
    const events = createEventLog<ToolEventPayload>({
      database,
      schema: toolEventSchema,
      bus: createInProcessBus(),
    });
    store = createSqlToolStore({ database, events });
    const numbers = `WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ${MANY})`;
    const idOf = (n: string) => `printf('00000000-0000-7000-8000-%012d', ${n})`;
    await database.transaction(async ({ manager }) => {
      for (const sql of [
        `${numbers} INSERT INTO tools SELECT ${idOf("n")}, 'tool-' || n, 'Common', 'd', '["all"]', NULL, NULL, 'v' || n, 1, 1, 1, iif(n > ${MANY / 2}, 1, NULL) FROM numbers`,
        `${numbers} INSERT INTO tool_tags SELECT ${idOf("n")}, 'all', n > ${MANY / 2} FROM numbers`,
        `${numbers} INSERT INTO tool_tags SELECT ${idOf("n")}, 'rare', 0 FROM numbers WHERE n = 7`,
        `${numbers} INSERT INTO tool_texts SELECT n, ${idOf("n")}, n > ${MANY / 2}, 'tool-' || n || char(10) || 'common' || char(10) || iif(n = 7, 'xylophone qj' || char(10) || 'rare', 'd') || char(10) || 'all' || char(10), 0 FROM numbers`,
        "INSERT INTO tool_index (rowid, text) SELECT position, text FROM tool_texts WHERE NOT deleted",
        "INSERT INTO deleted_tool_index (rowid, text) SELECT position, text FROM tool_texts WHERE deleted",
      ])
        await manager.query(sql);
    });
  });
  afterAll(() => database.close());

  const filters: [Partial<ToolFilter>, number][] = [
    [{}, MANY / 2],
    [{ includeDeleted: true }, MANY],
    [{ tag: "all" }, MANY / 2],
    [{ tag: "all", includeDeleted: true }, MANY],
    [{ tag: "rare" }, 1],
    [{ tag: "none" }, 0],
    [{ words: ["common"] }, MANY / 2],
    [{ words: ["common"], includeDeleted: true }, MANY],
    [{ words: ["xylophone"] }, 1],
    [{ words: ["co", "on"] }, MANY / 2],
    [{ words: ["qj"], includeDeleted: true }, 1],
    [{ words: ["common", "qj"] }, 1],
    [{ words: ["common"], tag: "all" }, MANY / 2],
    [{ words: ["common"], tag: "rare" }, 1],
    [{ words: ["nothing"] }, 0],
    [{ words: ["qz"] }, 0],
  ];

  async function planned(work: () => Promise<unknown>): Promise<{ statements: number; steps: string[] }> {
    const statements = await statementsOf(work);
    const steps: string[] = [];
    for (const { sql, parameters } of statements) {
      const plan = await database.read.query<{ detail: string }[]>(`EXPLAIN QUERY PLAN ${sql}`, [...parameters]);
      steps.push(...plan.map(({ detail }) => detail));
    }
    return { statements: statements.length, steps };
  }

  /** Walks an index in the order of the page, or counts in one; never a table, and nothing is sorted. */
  function expectByIndex(steps: string[], name: string): void {
    for (const step of steps) {
      if (step.startsWith("SCAN") && !/CONSTANT ROW|\(subquery|VIRTUAL TABLE INDEX 0/.test(step))
        expect(step, name).toMatch(/ USING (COVERING )?INDEX |VIRTUAL TABLE INDEX \d+:M1<>$/);
      expect(step, name).not.toMatch(/TEMP B-TREE|AUTOMATIC|json_each/);
    }
  }

  const page = { limit: 20, offset: 0, afterId: null };
  const listed = (filter: Partial<ToolFilter>, from: Partial<typeof page> = {}): Rows<{ id: string }> =>
    store.page({ words: [], tag: null, includeDeleted: false, ...filter }, { ...page, ...from });

  test.each(filters)("%j: the newest first by an index, in a bounded number of statements", async (filter, count) => {
    const { statements, steps } = await planned(async () => {
      const rows = await listed(filter).rows();
      expect(rows).toHaveLength(Math.min(21, count));
      expect(rows.map(({ id }) => id)).toEqual(
        rows
          .map(({ id }) => id)
          .toSorted()
          .toReversed(),
      );
    });
    expectByIndex(steps, JSON.stringify(filter));
    expect(statements).toBeLessThanOrEqual(filter.words ? MANY / 1_000 + 2 : 1);
  });

  test.each(filters)("%j: counted by an index", async (filter, count) => {
    const { steps } = await planned(async () => expect(await listed(filter).totalCount()).toBe(count));
    expectByIndex(steps, JSON.stringify(filter));
    if (!filter.words) expect(steps).toEqual([expect.stringMatching(/^(SCAN|SEARCH) \S+ USING COVERING INDEX /)]);
  });

  test.each(filters)("%j: pages by offset and by cursor go over all of it, each once", async (filter, count) => {
    const offset = Math.max(0, count - 5);
    const last = await listed(filter, { offset }).rows();
    expect(last).toHaveLength(Math.min(5, count));
    const [first] = last;
    if (first === undefined) return;
    const after = await listed(filter, { afterId: first.id } as object).rows();
    expect(after).toEqual(last.slice(1));
  });

  test("a name that most tools have gets its number in few looks", async () => {
    const { statements, steps } = await planned(() => store.takenOf(["tool-1", "tool-2", "tool-99999"]));
    expect(statements).toBe(1);
    expect(steps).toEqual([expect.stringMatching(/^SEARCH tool\S* USING INDEX \S+ \(slug=\?\)$/)]);
  });
});
