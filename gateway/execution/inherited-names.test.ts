import { anonymous } from "@toolyard/service-kit";
import { expect, test } from "vitest";
import { createExecutor } from "./executor.ts";
import { composeFixture, type FixtureSubgraph } from "./fixtures/compose.ts";
import { createHivePlanner } from "./planning/hive-planner.ts";
import { createLocalPlanner } from "./fixtures/local-planner.ts";
import { createInProcessClient } from "./clients/in-process-client.ts";
import type { SubgraphClient } from "./clients/subgraph-client.ts";

/*
 * Names that every JavaScript object inherits are names like all others in GraphQL: fields, aliases and variables may have them, and
 * one client's must not reach the objects of all others.
 */

const car = { name: "Williams", constructor: "Frank", toString: "text" };
const subgraphs: Record<string, FixtureSubgraph> = {
  races: {
    typeDefs: `
      type Query { constructor: Team  team: Team  teams: [Team!]!  valueOf(constructor: Int): Int  text: String }
      type Team @key(fields: "name") { name: String! constructor: String toString: String }`,
    resolvers: {
      Query: {
        constructor: () => car,
        team: () => car,
        teams: () => [car, { ...car, name: "Lotus" }],
        valueOf: (_: unknown, args: { constructor?: number }) =>
          Object.hasOwn(args, "constructor") ? args.constructor : 0,
        text: () => "text",
      },
    },
  },
  results: {
    typeDefs: `type Team @key(fields: "name") { name: String! points: Int best: Result } type Result { race: String }`,
    resolvers: {
      Team: {
        __resolveReference: ({ name }: { name: string }) => ({ name }),
        points: () => 9,
        best: () => ({ race: "Monza" }),
      },
    },
  },
};

/** Data as it comes over HTTP: objects that inherit. */
function overJson(client: SubgraphClient): SubgraphClient {
  return {
    ...client,
    // What JSON gives is what was put in.
    execute: async (request) =>
      JSON.parse(JSON.stringify(await client.execute(request))) as Awaited<ReturnType<SubgraphClient["execute"]>>,
  };
}

const { supergraphSdl, schemas } = composeFixture(subgraphs);
const executor = createExecutor({
  supergraphSdl,
  planner: createLocalPlanner({ supergraphSdl, cores: [createHivePlanner({ supergraphSdl })] }),
  clients: [...schemas].map(([name, schema]) =>
    overJson(createInProcessClient({ subgraph: { name, schema, createContext: (request) => request } })),
  ),
});
const run = async (query: string, variables: Record<string, unknown> = {}) =>
  JSON.stringify(await executor.execute({ query, variables, context: { caller: anonymous, requestId: "r1" } }));
const answer = (data: string) => `{"data":${data}}`;

test.each([
  ["{ constructor { name } }", '{"constructor":{"name":"Williams"}}'],
  ["{ team { constructor toString } valueOf }", '{"team":{"constructor":"Frank","toString":"text"},"valueOf":0}'],
  ["{ constructor: team { name } }", '{"constructor":{"name":"Williams"}}'],
  ["{ team { valueOf: best { race } } }", '{"team":{"valueOf":{"race":"Monza"}}}'],
  [
    "{ teams { constructor: points toString: best { race } } }",
    '{"teams":[{"constructor":9,"toString":{"race":"Monza"}},{"constructor":9,"toString":{"race":"Monza"}}]}',
  ],
  ["{ __proto__: text }", '{"__proto__":"text"}'],
  ["{ __proto__: __typename }", '{"__proto__":"Query"}'],
  ["{ __proto__: team { race: name } text }", '{"__proto__":{"race":"Williams"},"text":"text"}'],
  ["{ team { __proto__: best { __proto__: race } } }", '{"team":{"__proto__":{"__proto__":"Monza"}}}'],
  ['{ __proto__: __type(name: "Team") { __proto__: name } }', '{"__proto__":{"__proto__":"Team"}}'],
])("%s is answered like any other", async (query, data) => {
  expect(await run(query)).toBe(answer(data));
  expect("race" in {}, "all objects have what one client asked for").toBe(false);
  expect(await run("{ team { name points } }")).toBe(answer('{"team":{"name":"Williams","points":9}}'));
});

test("variables by these names are what the client sent, and nothing when it sent nothing", async () => {
  const query = "query ($constructor: Int) { valueOf(constructor: $constructor) }";
  expect(await run(query, { constructor: 5 })).toBe(answer('{"valueOf":5}'));
  expect(await run(query)).toBe(answer('{"valueOf":0}'));
});
