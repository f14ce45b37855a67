import { createCaller, createUserCaller, type Caller } from "@toolyard/service-kit";
import { dataOf, executeOn, subscribeOn } from "@toolyard/testing";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  CREATE,
  UPDATE,
  createToolsFixture,
  developer,
  stdioLaunch,
  type CreatedTool,
  type ToolsFixture,
} from "./fixtures/subgraph.ts";

let fixture: ToolsFixture;
/** By the number in their names: 1, 3 and 5 are the key's, of which 5 is deleted. */
const tools: CreatedTool[] = [];
let key: Caller;
let strangersKey: Caller;
beforeAll(async () => {
  fixture = await createToolsFixture();
  for (let n = 0; n < 6; n++) {
    const input = {
      name: `Weather ${n}`,
      description: n % 2 ? "Rain" : "Snow",
      tags: [`t${n % 3}`],
      launch: stdioLaunch,
    };
    tools.push((await dataOf<{ createTool: CreatedTool }>(fixture.subgraph, CREATE, { input }, developer)).createTool);
  }
  const toolIds = [1, 3, 5].map(idOf);
  key = createCaller({ ...developer, toolIds });
  strangersKey = createCaller({ ...createUserCaller("stranger", "VIEWER"), toolIds });
  await run("mutation ($id: ID!) { deleteTool(id: $id) { id } }", { id: idOf(5) });
  for (const n of [2, 3])
    await run('mutation ($id: ID!) { shareTool(toolId: $id, userId: "user-other", access: VIEW) { id } }', {
      id: idOf(n),
    });
});
afterAll(() => fixture[Symbol.asyncDispose]());

const idOf = (n: number) => tools[n]?.id ?? "";
const run = (query: string, variables: Record<string, unknown> = {}, caller: Caller = developer) =>
  executeOn(fixture.subgraph, query, variables, caller);

const NODES = "totalCount pageInfo { hasNextPage endCursor } edges { node { slug } }";
interface Listed {
  totalCount: number;
  pageInfo: { hasNextPage: boolean; endCursor: string | null };
  edges: { node: { slug: string } }[];
}
async function list(selection: string, caller: Caller): Promise<[string[], number]> {
  const slugs: string[] = [];
  let after: string | null = null;
  for (;;) {
    const query = `query ($after: String) { list: ${selection.replace("(", "(first: 1, after: $after, ")} { ${NODES} } }`;
    const { list: page }: { list: Listed } = await dataOf<{ list: Listed }>(fixture.subgraph, query, { after }, caller);
    slugs.push(...page.edges.map(({ node }) => node.slug));
    if (!page.pageInfo.hasNextPage) return [slugs, page.totalCount];
    after = page.pageInfo.endCursor;
  }
}

test.each([
  ["tools()", ["weather-3", "weather-1"]],
  ["tools(includeDeleted: true)", ["weather-5", "weather-3", "weather-1"]],
  ['tools(search: "RAIN weath")', ["weather-3", "weather-1"]],
  ['tools(search: "snow")', []],
  ['tools(tag: "t0")', ["weather-3"]],
  ['tools(tag: "t2", search: "rain", includeDeleted: true)', ["weather-5"]],
  ["myTools()", ["weather-3", "weather-1"]],
])("a key that is limited to tools lists of %s these alone, page by page", async (selection, slugs) => {
  expect(await list(selection, key)).toEqual([slugs, slugs.length]);
  // As its owner finds them among all.
  expect((await list(selection, developer))[0].filter((slug) => /[135]$/.test(slug))).toEqual(slugs);
});

test("it lists of the tools that are shared with its owner those that are its own, too", async () => {
  const toolIds = [1, 3].map(idOf);
  const other = createUserCaller("user-other", "DEVELOPER");
  expect(await list("sharedWithMe()", other)).toEqual([["weather-3", "weather-2"], 2]);
  expect(await list("sharedWithMe()", createCaller({ ...other, toolIds }))).toEqual([["weather-3"], 1]);
});

test("to it, other tools are as if they were not there: nothing tells one from none", async () => {
  const operations = [
    'query { tool(id: "REF") { id } }',
    'query { tool(slug: "REF") { id } }',
    'mutation { updateTool(id: "REF", input: { name: "Other" }) { id } }',
    'mutation { revertTool(id: "REF", versionNumber: 1) { id } }',
    'mutation { connectRepository(input: { toolId: "REF", owner: "o", repository: "r" }) { id } }',
  ];
  const answers = async (reference: string) => {
    const found = await Promise.all(operations.map((each) => run(each.replace("REF", reference), {}, key)));
    return found.map(({ data, errors }) => [data, errors[0]?.code, errors[0]?.message.replaceAll(reference, "…")]);
  };
  const unknown = await answers("weather-nowhere");
  expect(unknown.map(([, code]) => code)).toEqual([undefined, undefined, "NOT_FOUND", "NOT_FOUND", "NOT_FOUND"]);
  for (const reference of [idOf(2), "weather-2", "weather-", idOf(2).replace(/.$/, "x")])
    expect(await answers(reference)).toEqual(unknown);
});

test("it changes its tools and makes, deletes, restores and shares none", async () => {
  const input = { name: "Weather 1", description: "Sun" };
  expect(await run(UPDATE, { id: idOf(1), input }, key)).toMatchObject({
    data: { updateTool: { description: "Sun" } },
  });
  const refused = [
    run(CREATE, { input: { name: "New", description: "", launch: stdioLaunch } }, key),
    run("mutation ($id: ID!) { deleteTool(id: $id) { id } }", { id: idOf(1) }, key),
    run("mutation ($id: ID!) { restoreTool(id: $id) { id } }", { id: idOf(5) }, key),
    run(
      'mutation ($id: ID!) { shareTool(toolId: $id, userId: "user-viewer", access: VIEW) { id } }',
      { id: idOf(1) },
      key,
    ),
    run('mutation { createToolFromTemplate(templateId: "time", input: {}) { id } }', {}, key),
    run("{ templates { totalCount } }", {}, key),
    run(UPDATE, { id: idOf(1), input }, strangersKey),
  ];
  for (const answer of await Promise.all(refused)) expect(answer.errors[0]?.code).toBe("FORBIDDEN");
});

test("it follows its tools alone, from the log's beginning and on", async () => {
  await using stream = await subscribeOn<{ toolChanged: { toolId: string } }>(
    fixture.subgraph,
    'subscription { toolChanged(after: "0") { toolId } }',
    {},
    key,
  );
  const told: string[] = [];
  for await (const event of stream) {
    told.push(event.data?.toolChanged.toolId ?? "");
    if (told.length === 5) break;
  }
  // Three were made, one was deleted, one changed; who they are shared with is nothing of the key's.
  expect(told).toEqual([1, 3, 5, 5, 1].map(idOf));
});
