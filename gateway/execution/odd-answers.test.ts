import { anonymous } from "@toolyard/service-kit";
import { expect, test } from "vitest";
import { createExecutor } from "./executor.ts";
import { composeFixture } from "./fixtures/compose.ts";
import { createHivePlanner } from "./planning/hive-planner.ts";
import { createLocalPlanner } from "./fixtures/local-planner.ts";
import type { SubgraphClient, SubgraphResponse } from "./clients/subgraph-client.ts";

const { supergraphSdl } = composeFixture({
  a: {
    typeDefs: `
      scalar JSON
      input Filter { and: [Filter!] n: Int }
      type Query { echo(json: JSON, filter: Filter): String  count: Int text: String things(first: Int): [Thing!] must: Thing! maybe: [Thing] words: [String!] }
      type Thing @key(fields: "id") { id: ID! name: String }`,
    resolvers: {},
  },
  b: { typeDefs: `type Thing @key(fields: "id") { id: ID! rating: Int strict: String! }`, resolvers: {} },
});

/** Runs a query against subgraphs that always answer the same. */
async function run(
  query: string,
  a: SubgraphResponse,
  b: SubgraphResponse = { data: null },
  variables: Record<string, unknown> = {},
) {
  const client = (name: string, response: SubgraphResponse): SubgraphClient => ({
    name,
    execute: async () => structuredClone(response),
    subscribe: () => {
      throw new Error("Nothing is subscribed to here.");
    },
    close: async () => undefined,
  });
  const executor = createExecutor({
    supergraphSdl,
    planner: createLocalPlanner({ supergraphSdl, cores: [createHivePlanner({ supergraphSdl })] }),
    clients: [client("a", a), client("b", b)],
  });
  const { data, errors } = await executor.execute({
    query,
    variables,
    context: { caller: anonymous, requestId: "r1" },
  });
  return JSON.parse(
    JSON.stringify({ data, errors: errors?.map(({ message, path }) => ({ message, ...(path && { path }) })) }),
  ) as unknown;
}

test("an Int of more than 32 bits is no Int", async () => {
  expect(await run("{ count }", { data: { count: 2_147_483_647 } })).toEqual({ data: { count: 2_147_483_647 } });
  for (const count of [2_147_483_648, -2_147_483_649, 1e300, 1.5, "12"]) {
    expect(await run("{ count }", { data: { count } })).toEqual({
      data: { count: null },
      errors: [{ message: "The value is not a valid Int.", path: ["count"] }],
    });
  }
});

test("an ID that a subgraph has as a number is answered as a string", async () => {
  const things = [{ id: 5 }, { id: "6" }];
  expect(await run("{ things { id } }", { data: { things } })).toEqual({
    data: { things: [{ id: "5" }, { id: "6" }] },
  });
  expect(await run("{ things { id } }", { data: { things: [{ id: 5.5 }] } })).toMatchObject({
    data: { things: null },
    errors: [{ message: "The value is not a valid ID.", path: ["things", 0, "id"] }],
  });
});

test("a null where none may be is told with the field's name", async () => {
  expect(await run("{ must { id } }", { data: { must: { id: null } } })).toEqual({
    data: null,
    errors: [{ message: "Cannot return null for non-nullable field Thing.id.", path: ["must", "id"] }],
  });
  expect(await run("{ words }", { data: { words: ["a", null] } })).toEqual({
    data: { words: null },
    errors: [{ message: "Cannot return null for non-nullable field Query.words.", path: ["words", 1] }],
  });
});

test.each([["nowhere"], ["text", "below"], ["things", 0, "price"]])(
  "an error at a path that was not asked for is told without it: %s %s %s",
  async (...path) => {
    const response = { data: { text: null, things: [] }, errors: [{ message: "boom", path }] };
    expect(await run("{ text things { id } }", response)).toEqual({
      data: { text: null, things: [] },
      errors: [{ message: "boom" }],
    });
  },
);

const two = {
  data: {
    things: [
      { __typename: "Thing", id: "1" },
      { __typename: "Thing", id: "2" },
    ],
  },
};
const rated = { data: { _entities: [{ rating: 1 }, { rating: null }] } };

test.each([
  [
    ["_entities", 1, "rating"],
    ["things", 1, "rating"],
  ],
  [
    ["_entities", 1, "nowhere"],
    ["things", 1],
  ],
  [
    ["_entities", 7, "rating"],
    ["things", 0],
  ],
  [
    ["_entities", -1],
    ["things", 0],
  ],
  [["elsewhere"], ["things", 0]],
])("an error of entities at %j is told at %j", async (path, told) => {
  expect(await run("{ things { rating } }", two, { ...rated, errors: [{ message: "boom", path }] })).toEqual({
    data: { things: [{ rating: 1 }, { rating: null }] },
    errors: [{ message: "boom", path: told }],
  });
});

test.each(["rating", "strict"])(
  "an error for each of many entities' %s takes no longer than the entities do",
  async (field) => {
    const count = 3_000;
    let looks = 0;
    const maybe = Array.from({ length: count }, (_, i) => ({ __typename: "Thing", id: String(i) }));
    const b = {
      data: { _entities: maybe.map(() => (field === "strict" ? null : { [field]: null })) },
      errors: maybe.map((_, i) => ({
        message: "boom",
        get path() {
          looks += 1;
          return ["_entities", i, field];
        },
      })),
    };
    const result = await run(`{ maybe { ${field} } }`, { data: { maybe } }, b);
    expect(result).toMatchObject({ errors: { length: count } });
    expect(looks).toBeGreaterThanOrEqual(count);
    expect(looks).toBeLessThan(20 * count);
  },
);

test.each([
  ["json", "JSON", '{"v":'],
  ["filter", "Filter", '{"and":'],
])("a variable that nests more than can be walked is refused: %s", async (argument, type, open) => {
  const times = 30_000;
  const value: unknown = JSON.parse(`${open.repeat(times)}null${"}".repeat(times)}`);
  const query = `query ($value: ${type}) { echo(${argument}: $value) }`;
  expect(await run(query, { data: { echo: "ran" } }, {}, { value })).toEqual({
    errors: [{ message: "The variables are nested too deeply." }],
  });
});
