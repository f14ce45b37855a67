import { dataOf, statementsOf } from "@toolyard/testing";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CREATE, createToolsFixture, developer, stdioLaunch, viewer, type ToolsFixture } from "./fixtures/subgraph.ts";

let fixture: ToolsFixture;
beforeAll(async () => {
  fixture = await createToolsFixture();
  for (let n = 0; n < 3; n++) {
    const input = { name: `Tool ${n}`, description: "", tags: ["t"], launch: stdioLaunch };
    await dataOf(fixture.subgraph, CREATE, { input }, developer);
  }
});
afterAll(() => fixture[Symbol.asyncDispose]());

test.each([
  ["rows, when only they are selected", "edges { node { id } } pageInfo { hasNextPage }", 1, 0],
  ["the count, when only that is", "totalCount", 0, 1],
  ["both, when both are", "totalCount edges { cursor }", 1, 1],
])("a page of tools reads %s", async (_what, selection, pages, counts) => {
  const query = `{ tools(search: "tool", tag: "t") { ${selection} } }`;
  const statements = await statementsOf(() => dataOf(fixture.subgraph, query, {}, viewer));
  expect(statements.filter(({ sql }) => !sql.includes("COUNT("))).toHaveLength(pages);
  expect(statements.filter(({ sql }) => sql.includes("COUNT("))).toHaveLength(counts);
});
