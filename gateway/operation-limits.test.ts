import { buildSchema, getIntrospectionQuery, GraphQLError, Kind, parse } from "graphql";
import { describe, expect, test } from "vitest";
import { evaluateCost, parseCostModel } from "./operation-cost.ts";
import { costError, defaultOperationLimits, measureOperation, type OperationLimits } from "./operation-limits.ts";

const sdl = /* GraphQL */ `
  type Query {
    node: Node
    nodes(first: Int, ids: [ID!]): [Node!]!
    paged(first: Int = 20, after: String): Connection!
    sized(size: Int): Page
    assumed: [Node]
    costly(weight: Int): Int
    thing: Thing
  }
  type Node {
    id: ID!
    name: String
    child: Node
    children: [Node!]!
    heavy: Heavy
  }
  type Connection {
    edges: [Edge!]!
    totalCount: Int
  }
  type Edge {
    node: Node
  }
  type Page {
    results: [Node]
    others: [Node]
  }
  type Heavy {
    id: ID
  }
  type Other {
    name: String
  }
  union Thing = Node | Other
`;
const schema = buildSchema(sdl);
const costs = parseCostModel(
  parse(/* GraphQL */ `
    schema @link(url: "https://specs.apollo.dev/cost/v0.1", import: [{ name: "@cost", as: "@price" }, "@listSize"]) {
      query: Query
    }
    type Query {
      sized(size: Int): Page @listSize(slicingArguments: ["size"], sizedFields: ["results"])
      assumed: [Node] @listSize(assumedSize: 7)
      costly(weight: Int @price(weight: 40)): Int @price(weight: 2)
    }
    type Heavy @price(weight: 100) {
      id: ID
    }
  `),
);

function measure(query: string, limits: Partial<OperationLimits> = {}) {
  const document = parse(query);
  const definition = document.definitions.find((node) => node.kind === Kind.OPERATION_DEFINITION);
  if (!definition) throw new Error("The test has no operation.");
  return measureOperation({ document, definition, schema, costs, limits: { ...defaultOperationLimits, ...limits } });
}

function costOf(query: string, variables: Record<string, unknown> = {}): number {
  const measured = measure(query);
  if (measured instanceof GraphQLError) throw measured;
  return evaluateCost(measured.cost, variables);
}

function limitOf(query: string, limits: Partial<OperationLimits> = {}) {
  const measured = measure(query, limits);
  return measured instanceof GraphQLError ? measured.extensions["limit"] : null;
}

describe("the cost of an operation", () => {
  test.each([
    ["a field of an object is 1, of a scalar 0", "{ node { id name } }", 1],
    ["a list without a size has the default", "{ node { children { id } } }", 1 + 10],
    ["a list has as many as it is asked for", "{ nodes(first: 3) { child { id } } }", 3 * 2],
    ["lists within lists multiply", "{ nodes(first: 3) { children { children { id } } } }", 3 * (1 + 10 * (1 + 10))],
    ["a connection's argument is its edges' size", "{ paged(first: 5) { edges { node { id } } } }", 1 + 5 * 2],
    ["an argument's default counts", "{ paged { totalCount edges { node { id } } } }", 1 + 20 * 2],
    [
      "@listSize names arguments and the sized field",
      "{ sized(size: 4) { results { id } others { id } } }",
      1 + 4 + 10,
    ],
    ["@listSize assumes a size", "{ assumed { id } }", 7],
    ["@cost of a field and of an argument", "{ costly(weight: 1) }", 42],
    ["@cost of an argument that is left out", "{ costly }", 2],
    ["@cost of a type", "{ node { heavy { id } } }", 1 + 100],
    [
      "what fragments select twice counts once",
      "{ ...A ...A node { id } } fragment A on Query { node { child { id } } }",
      2,
    ],
    ["the members of a union add up", "{ thing { ... on Node { child { id } } ... on Other { name } } }", 2],
    ["introspection is free", "{ __schema { types { name } } __typename }", 0],
    ["a negative size is none", "{ nodes(first: -5) { id } }", 0],
  ])("%s", (_name, query, cost) => {
    expect(costOf(query)).toBe(cost);
  });

  test("depends on variables where they say sizes; what is no number counts as left out", () => {
    const query =
      "query ($n: Int, $m: Int) { nodes(first: $n) { children { id } } paged(first: $m) { edges { node { id } } } }";
    expect(costOf(query, { n: 2, m: 1 })).toBe(2 * 11 + 1 + 2);
    expect(costOf(query, { n: 2 })).toBe(2 * 11 + 1 + 20 * 2);
    expect(costOf(query, { n: "1e9", m: null })).toBe(10 * 11 + 1 + 20 * 2);
    const measured = measure(query);
    if (measured instanceof GraphQLError) throw measured;
    expect(costError(measured, { n: 100, m: 0 }, { maxCost: 1_100 })?.extensions).toEqual({
      code: "OPERATION_LIMIT_EXCEEDED",
      limit: "cost",
      max: 1_100,
      found: 1_101,
    });
    expect(costError(measured, { n: 100, m: 0 }, { maxCost: 1_101 })).toBeNull();
  });
});

describe("limits of the text", () => {
  test("the introspection queries of tools are within all of them", () => {
    expect(limitOf(getIntrospectionQuery({ inputValueDeprecation: true, specifiedByUrl: true }))).toBeNull();
  });

  test.each([
    [
      "the whole of it again and again",
      `a: __schema { types { fields { type { fields { name type { name } } } } } }`,
      50,
    ],
    [
      "all fields of all arguments' types",
      "__schema { types { fields { args { type { inputFields { name } } } } } }",
      200,
    ],
    ["more at each level", `__type(name: "Node") ${"{ fields { type ".repeat(14)} { name } ${"} }".repeat(14)}`, 1],
  ])("the schema may not be asked for %s", (_what, field, times) => {
    const aliased = Array.from({ length: times }, (_, n) => `a${n}: ${field.replace(/^a: /, "")}`);
    expect(limitOf(`{ ${aliased.join(" ")} }`, { maxAliases: 1_000, maxRootFields: 1_000 })).toBe("introspection");
  });

  test("depth counts through fragments, and is exact", () => {
    const query = "{ node { ...A } } fragment A on Node { child { ... on Node { child { id } } } }";
    expect(limitOf(query, { maxDepth: 4 })).toBeNull();
    expect(limitOf(query, { maxDepth: 3 })).toBe("depth");
  });

  test("aliases count once for each place their fragment is spread in", () => {
    const query = "{ node { ...A child { ...A } } } fragment A on Node { a: id b: name }";
    expect(limitOf(query, { maxAliases: 4 })).toBeNull();
    expect(limitOf(query, { maxAliases: 3 })).toBe("aliases");
    expect(limitOf("{ node { id: id } }", { maxAliases: 0 })).toBeNull();
  });

  test("directives and root fields", () => {
    expect(limitOf("{ node @skip(if: false) { id @skip(if: false) } }", { maxDirectives: 1 })).toBe("directives");
    expect(limitOf("{ a: node { id } b: node { id } }", { maxRootFields: 1 })).toBe("rootFields");
  });

  test.each([
    [
      "fragments that double at each level",
      `{ node { ...F0 } } ${Array.from({ length: 40 }, (_, i) => `fragment F${i} on Node { a: child { ...F${i + 1} } b: child { ...F${i + 1} } }`).join(" ")} fragment F40 on Node { id }`,
    ],
    [
      "fragments that only spread each other",
      `{ node { ...F0 } } ${Array.from({ length: 40 }, (_, i) => `fragment F${i} on Node { ...F${i + 1} ...F${i + 1} }`).join(" ")} fragment F40 on Node { id }`,
    ],
    [
      "one field thousands of times, which validation would compare pair by pair",
      `{ ${"__typename ".repeat(14_000)} }`,
    ],
    ["a fragment within itself", "{ node { ...F } } fragment F on Node { child { ...F } ...F }"],
  ])("%s: measured at once", (_name, query) => {
    const startedAt = performance.now();
    const measured = measure(query);
    expect(performance.now() - startedAt).toBeLessThan(1_000);
    if (!query.includes("fragment F on")) expect(measured).toBeInstanceOf(GraphQLError);
  });
});
