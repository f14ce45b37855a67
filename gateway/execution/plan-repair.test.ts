import { parse } from "graphql";
import { describe, expect, test } from "vitest";
import { anonymous } from "@toolyard/service-kit";
import { createApiSchema } from "./api-schema.ts";
import { createApolloPlanner } from "./apollo-planner.ts";
import { createExecutor } from "./executor.ts";
import { createGraph } from "./fixtures/graph.ts";
import { composeFixture } from "./fixtures/compose.ts";
import { abstracts } from "./fixtures/supergraphs.ts";
import { createHivePlanner } from "./hive-planner.ts";
import { createInProcessClient } from "./in-process-client.ts";
import { createLocalPlanner } from "./local-planner.ts";
import { createPlanRepair } from "./plan-repair.ts";
import { readSubgraphTypes } from "./subgraph-types.ts";

const context = { caller: anonymous, requestId: "r" };

const note = { __typename: "Note", text: "hello" };
const cord = { __typename: "Cord", metres: 3 };
const box = (all: unknown[]) => ({ id: "1", content: { all } });

/** Both subgraphs may be asked for a box's content, and each has things of its own in there. */
const boxes = () =>
  composeFixture({
    west: {
      typeDefs: `
        type Query { west: Box }
        type Box @key(fields: "id") { id: ID! content: Content @shareable }
        type Content @shareable { all: [Thing!]! }
        union Thing = Note | Seal
        type Note @shareable { text: String }
        type Seal { wax: String! }
      `,
      resolvers: {
        Query: { west: () => box([note, { __typename: "Seal", wax: "red" }]) },
        Box: { __resolveReference: () => box([note]) },
      },
    },
    east: {
      typeDefs: `
        type Query { east: Box }
        type Box @key(fields: "id") { id: ID! content: Content @shareable weight: Int }
        type Content @shareable { all: [Thing!]! }
        union Thing = Note | Cord
        type Note @shareable { text: String }
        type Cord { metres: Int! knots(first: Int): [String!] holds: [Thing!]! }
      `,
      resolvers: {
        Query: { east: () => box([cord, note]) },
        Box: { __resolveReference: () => box([note]) },
        Cord: { knots: () => ["reef"], holds: () => [note, cord] },
      },
    },
  });

describe.each([
  ["the native planner", createHivePlanner],
  ["Apollo's planner", createApolloPlanner],
])("a field whose members differ by subgraph, planned by %s", (_name, createPlanner) => {
  const { supergraphSdl, schemas } = boxes();
  const sent: string[] = [];
  const executor = createExecutor({
    supergraphSdl,
    planner: createLocalPlanner(createPlanner({ supergraphSdl })),
    clients: [...schemas].map(([name, schema]) => {
      const client = createInProcessClient({ subgraph: { name, schema, createContext: (request) => request } });
      return { ...client, execute: (request) => (sent.push(`${name} ${request.query}`), client.execute(request)) };
    }),
  });

  test("has the fields of members that only one subgraph has, fetched with the others", async () => {
    sent.length = 0;
    const query = `{ east { content { all { __typename ... on Note { text } ... on Seal { wax } ... on Cord { metres holds { __typename ... on Note { text } ... on Cord { metres } } } } } } }`;
    const { data, errors } = await executor.execute({ query, context });
    expect(errors).toBeUndefined();
    expect(data).toEqual({ east: { content: { all: [{ ...cord, holds: [note, cord] }, note] } } });
    expect(sent).toHaveLength(1);
  });

  test("takes the client's variables along", async () => {
    const query = `query Q($first: Int) { east { content { all { ... on Cord { knots(first: $first) } } } } }`;
    sent.length = 0;
    expect(await executor.execute({ query, variables: { first: 1 }, context })).toEqual({
      data: { east: { content: { all: [{ knots: ["reef"] }, {}] } } },
    });
    expect(sent[0]).toMatch(/^east query.*\$first: ?Int.*knots\(first: ?\$first\)/s);
  });
});

test("a plan that has everything is given back as it is; one without a root field is refused", () => {
  const { supergraphSdl } = createGraph(abstracts());
  const supergraph = parse(supergraphSdl);
  const schema = createApiSchema({ supergraph });
  const rootType = schema.getQueryType();
  if (!rootType) throw new Error("The fixture has no queries.");
  const repair = createPlanRepair(schema, readSubgraphTypes(supergraph));
  const operation = "{ search { __typename ... on Book { title isbn } } reviewers { all { __typename } } }";
  const [definition] = parse(operation).definitions;
  if (definition?.kind !== "OperationDefinition") throw new Error("Not an operation.");
  const planned = { rootType, selectionSet: definition.selectionSet, variableDefinitions: [] };
  const request = { operationName: null, overrideLabels: [], overridePercentage: 100 };
  const planner = createHivePlanner({ supergraphSdl });
  const plan = planner.plan({ ...request, operation });
  expect(repair(plan, planned)).toBe(plan);
  const other = planner.plan({ ...request, operation: "{ search { __typename } }" });
  expect(() => repair(other, planned)).toThrow("The plan fetches nothing for reviewers.");
  expect(() => repair({ node: null }, planned)).toThrow("search, reviewers");
});
