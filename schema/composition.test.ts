import { expect, test } from "vitest";
import { compose, type SubgraphSdl } from "./composition.ts";
import { describeProblem, describeProblems } from "./composition-problem.ts";

const link = 'extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@key", "@shareable"])';

function subgraph(name: string, sdl: string): SubgraphSdl {
  return { name, url: `http://${name}.test/`, sdl: `${link}\n${sdl}`, origin: `${name}.graphql` };
}

const products = subgraph(
  "products",
  'type Query { top: Product }\ntype Product @key(fields: "upc") { upc: ID! name: String }',
);

test("composes a supergraph with the subgraphs' URLs", () => {
  const reviews = subgraph("reviews", 'type Product @key(fields: "upc") { upc: ID! stars: Int }');
  expect(compose([products, reviews])).toMatchObject({
    supergraphSdl: expect.stringContaining('@join__graph(name: "reviews", url: "http://reviews.test/")'),
    hints: [],
  });
});

test("says each error with its code and every place it is at", () => {
  const reviews = subgraph("reviews", 'type Product @key(fields: "upc") {\n upc: ID!\n name: Int }');
  const composed = compose([products, reviews]);
  expect(composed).toMatchObject({
    errors: [{ code: "FIELD_TYPE_MISMATCH" }, { code: "INVALID_FIELD_SHARING" }],
  });
  if (!("errors" in composed)) return;
  expect(composed.errors[0].locations).toEqual([
    { subgraph: "products", origin: "products.graphql", line: 3, column: 45 },
    { subgraph: "reviews", origin: "reviews.graphql", line: 4, column: 2 },
  ]);
  expect(describeProblem(composed.errors[0])).toMatch(
    /^FIELD_TYPE_MISMATCH products products\.graphql:3:45, reviews reviews\.graphql:4:2: Type of field "Product\.name" is incompatible/,
  );
});

test("says which subgraph does not parse, for all that do not", () => {
  const composed = compose([
    { ...products, sdl: "type Query {" },
    { ...subgraph("reviews", ""), sdl: "}", origin: null },
  ]);
  expect(describeProblems("errors" in composed ? composed.errors : [])).toBe(
    "- INVALID_GRAPHQL products products.graphql:1:13: [products] Syntax Error: Expected Name, found <EOF>.\n" +
      '- INVALID_GRAPHQL reviews 1:1: [reviews] Syntax Error: Unexpected "}".',
  );
});

test("what no query could reach is an error with the query that shows it, kept readable", () => {
  const reviews = subgraph("reviews", 'type Product @key(fields: "sku") { sku: ID! stars: Int }');
  const composed = compose([products, reviews]);
  const text = describeProblems("errors" in composed ? composed.errors : []);
  expect(text).toMatch(/^- SATISFIABILITY_ERROR.*\n {2}\{\n {4}top \{/);
});

test("hints are no errors", () => {
  const one = subgraph("one", "type Query { a: Value @shareable }\ntype Value @shareable { x: Int y: Int }");
  const two = subgraph(
    "two",
    'type Query { a: Value @shareable }\n"Described here." type Value @shareable { x: Int! y: Int }',
  );
  const composed = compose([one, two]);
  expect(composed).toMatchObject({ hints: [{ code: "INCONSISTENT_BUT_COMPATIBLE_FIELD_TYPE" }] });
});

test("what no gateway here has is refused with the directive and the subgraphs that have it, by whatever name", () => {
  const imports = ["@key", { name: "@context", as: "@ctx" }, "ContextFieldValue"];
  const text = JSON.stringify(imports).replaceAll(/"(name|as)":/g, "$1: ");
  const users: SubgraphSdl = {
    ...products,
    name: "users",
    origin: "users.graphql",
    sdl: `extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ${text})
      type Query { user: User }
      type User @key(fields: "id") @ctx(name: "user") { id: ID! currency: String price: Price }
      type Price @key(fields: "id") { id: ID! cents(in: String @federation__fromContext(field: "$user { currency }")): Int }`,
  };
  const composed = compose([users, subgraph("others", 'type Price @key(fields: "id") { id: ID! tax: Int }')]);
  expect(composed).toMatchObject({
    errors: [
      {
        code: "UNSUPPORTED_DIRECTIVE",
        message: expect.stringContaining("[users] @context is not supported"),
        locations: [{ subgraph: "users", line: 3 }],
      },
      { message: expect.stringContaining("[users] @fromContext is not supported"), locations: [{ line: 4 }] },
    ],
  });
});
