import fc from "fast-check";
import {
  buildSchema,
  getIntrospectionQuery,
  GraphQLError,
  Kind,
  parse,
  parseValue,
  validate,
  valueFromASTUntyped,
} from "graphql";
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
    page(by: PageInput, first: Int, last: Int): Page
    either(first: Int, last: Int): [Node]
    keyed(ids: [ID!]): [Node]
    find(filter: Filter, all: [Filter!], many: [[Filter]]): Int
    defaulted(filter: Filter = { text: "x" }): Int
    big(first: Long): [Node]
  }
  scalar Long
  input PageInput {
    first: Int = 30
    filter: Filter
  }
  input Filter {
    text: String
    plain: Int
    deep: Filter
    lots: [Filter!]
    mode: Mode = SLOW
  }
  enum Mode {
    SLOW
    FAST
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
      page(by: PageInput, first: Int, last: Int): Page
        @listSize(slicingArguments: ["by.first"], sizedFields: ["results"], requireOneSlicingArgument: false)
      either(first: Int, last: Int): [Node] @listSize(slicingArguments: ["first", "last"], assumedSize: 8)
      keyed(ids: [ID!]): [Node] @listSize(slicingArguments: ["ids"], requireOneSlicingArgument: false)
      find(filter: Filter, all: [Filter!] @price(weight: 3), many: [[Filter]]): Int
    }
    input Filter {
      text: String @price(weight: 50)
      plain: Int
      deep: Filter
      lots: [Filter!] @price(weight: 4)
      mode: Mode
    }
    enum Mode @price(weight: 7) {
      SLOW
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
    ["the largest of several sizes counts", "{ sized(size: 1) { results { id } } big(first: 900) { id } }", 2 + 900],
    ["a size inside an input object", "{ page(by: { first: 4 }) { results { id } } }", 1 + 7 + (1 + 4) - 7],
    ["as many as there are keys", '{ keyed(ids: ["1", "2", "3"]) { id } }', 3],
    [
      "an input object is 1, its fields' @cost and their types' count",
      '{ find(filter: { text: "x", mode: FAST }) }',
      1 + 50 + 7,
    ],
    ["a default in the schema counts", "{ find(filter: {}) }", 1 + 7],
    ["a default of an argument counts", "{ defaulted }", 1 + 50 + 7],
    ["nested ones", '{ find(filter: { deep: { deep: { text: "x" } } }) }', 3 + 3 * 7 + 50],
    [
      "lists of them, by what they weigh where they are",
      "{ find(all: [{}, {}], filter: { lots: [{}, {}, {}] }) }",
      2 * (3 + 7) + (1 + 7) + 3 * (4 + 7),
    ],
    ["one alone for a list of it", "{ find(many: {}) }", 8],
    ["lists of lists", "{ find(many: [[{}], [{}, null]]) }", 2 * 8],
  ])("%s", (_name, query, cost) => {
    expect(costOf(query)).toBe(cost);
  });

  test("sees what variables are when they are left out", () => {
    const query = "query ($n: Int = 20000) { nodes(first: $n) { id } }";
    const measured = measure(query);
    if (measured instanceof GraphQLError) throw measured;
    expect(costError(measured, {}, { maxCost: 19_999 })?.extensions).toMatchObject({ found: 20_000 });
    expect(costError(measured, { n: 3 }, { maxCost: 3 })).toBeNull();
    expect(costError(measured, { n: null }, { maxCost: 10 })).toBeNull();
  });

  test("is not worked out again for each place where one large variable is used", () => {
    const query =
      `query ($f: [[Filter]]) { ${Array.from({ length: 150 }, (_, n) => `a${n}: find(many: $f) b${n}: find(many: [$g])`).join(" ")} }`.replaceAll(
        "$g",
        "$f",
      );
    const measured = measure(query, { maxAliases: 1_000, maxRootFields: 1_000 });
    if (measured instanceof GraphQLError) throw measured;
    let looks = 0;
    const filter = new Proxy({}, { ownKeys: () => ((looks += 1), []) });
    const f = Array.from({ length: 1_000 }, () => Array.from({ length: 100 }, () => filter));
    expect(costError(measured, { f }, { maxCost: 1 })?.extensions["found"]).toBeGreaterThan(100_000 * 8 * 150);
    // Once as each of the two types.
    expect(looks).toBeLessThanOrEqual(200_000);
  });

  const filter: fc.Memo<string> = fc.memo((depth) => {
    const leaf = [
      fc.constant('text: "x"'),
      fc.constant("plain: 5"),
      fc.constantFrom("mode: FAST", "mode: null", "text: null"),
    ];
    const parts =
      depth <= 1
        ? leaf
        : [
            ...leaf,
            filter(depth - 1).map((inner) => `deep: ${inner}`),
            fc.array(filter(depth - 1), { maxLength: 3 }).map((inner) => `lots: [${inner.join(", ")}]`),
          ];
    return fc
      .uniqueArray(fc.oneof(...parts), { maxLength: 4, selector: (part) => part.split(":")[0] })
      .map((given) => `{ ${given.join(", ")} }`);
  });
  const size = fc.oneof(fc.integer({ min: -3, max: 30_000 }).map(String), fc.constant("null"));
  const places = fc.oneof(
    size.map((value) => ["Int", value, (n: string) => `nodes(first: ${n}) { children { id } }`] as const),
    size.map((value) => ["Int", value, (n: string) => `paged(first: ${n}) { edges { node { id } } }`] as const),
    size.map((value) => ["Int", value, (n: string) => `sized(size: ${n}) { results { id } }`] as const),
    size.map((value) => ["Int", value, (n: string) => `costly(weight: ${n})`] as const),
    size.map((value) => ["Int", value, (n: string) => `page(by: { first: ${n} }) { results { id } }`] as const),
    size.map(
      (value) => ["PageInput", `{ first: ${value} }`, (n: string) => `page(by: ${n}) { results { id } }`] as const,
    ),
    fc
      .tuple(size, filter(3))
      .map(
        ([first, inner]) =>
          [
            "PageInput",
            `{ first: ${first}, filter: ${inner} }`,
            (n: string) => `page(by: ${n}) { results { id } }`,
          ] as const,
      ),
    filter(4).map((value) => ["Filter", value, (n: string) => `find(filter: ${n})`] as const),
    filter(4).map((value) => ["Filter", value, (n: string) => `find(filter: { deep: ${n} })`] as const),
    filter(3).map((value) => ["Filter!", value, (n: string) => `find(all: [{}, ${n}])`] as const),
    fc
      .array(filter(3), { maxLength: 3 })
      .map(
        (items) =>
          ["[Filter!]", `[${items.join(", ")}]`, (n: string) => `find(filter: { lots: ${n} }, all: ${n})`] as const,
      ),
    fc
      .array(filter(2), { maxLength: 3 })
      .map((items) => ["[[Filter]]", `[[${items.join(", ")}]]`, (n: string) => `find(many: ${n})`] as const),
    fc.constant(["[ID!]", '["1", "2"]', (n: string) => `keyed(ids: ${n}) { id }`] as const),
    filter(2).map((value) => ["Filter", value, (n: string) => `defaulted(filter: ${n})`] as const),
  );

  test("is the same whether a value is written in its place, given as a variable, or as that one's default", () => {
    const evaluated = (query: string, variables: Record<string, unknown> = {}) => {
      expect(validate(schema, parse(query))).toEqual([]);
      const measured = measure(query);
      if (measured instanceof GraphQLError) throw measured;
      return evaluateCost(measured.cost, { ...measured.defaults, ...variables });
    };
    fc.assert(
      fc.property(places, ([type, literal, place]) => {
        const expected = evaluated(`{ ${place(literal)} }`);
        const value = valueFromASTUntyped(parseValue(literal));
        expect(evaluated(`query ($v: ${type}) { ${place("$v")} }`, { v: value })).toBe(expected);
        if (type.endsWith("!")) return;
        expect(evaluated(`query ($v: ${type} = ${literal}) { ${place("$v")} }`)).toBe(expected);
      }),
      { numRuns: 500 },
    );
  });

  test.each([
    ["{ either(first: 3) { id } }", {}, null],
    ["{ either(last: 3) { id } }", {}, null],
    ["{ either { id } }", {}, 0],
    ["{ either(first: null) { id } }", {}, 0],
    ["{ either(first: 3, last: 4) { id } }", {}, 2],
    ["query ($f: Int, $l: Int) { either(first: $f, last: $l) { id } }", {}, 0],
    ["query ($f: Int, $l: Int) { either(first: $f, last: $l) { id } }", { f: 1 }, null],
    ["query ($f: Int, $l: Int) { either(first: $f, last: $l) { id } }", { f: 1, l: null }, null],
    ["query ($f: Int, $l: Int) { either(first: $f, last: $l) { id } }", { f: 1, l: 2 }, 2],
    ["query ($f: Int = 1, $l: Int) { either(first: $f, last: $l) { id } }", {}, null],
    ["query ($f: Int = 1, $l: Int) { either(first: $f, last: $l) { id } }", { l: 2 }, 2],
    ["{ node { child { id } } page { results { id } } keyed { id } }", {}, null],
  ])("one slicing argument is required where @listSize says so: %s with %j", (query, variables, found) => {
    const measured = measure(query);
    if (measured instanceof GraphQLError) throw measured;
    const error = costError(measured, variables, { maxCost: 1e9 });
    if (found === null) expect(error).toBeNull();
    else
      expect(error).toMatchObject({
        message: `The field Query.either takes exactly one of the arguments first, last (@listSize), and has ${found} of them.`,
        extensions: { code: "GRAPHQL_VALIDATION_FAILED" },
      });
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
    const measured = measure(query);
    if (!query.includes("fragment F on")) expect(measured).toBeInstanceOf(GraphQLError);
  });
});
