import { describe, expect, test } from "vitest";
import { anonymous, createServiceCaller } from "@toolyard/service-kit";
import type { ExecutionResult } from "graphql";
import { createApolloPlanner } from "./planning/apollo-planner.ts";
import { createExecutor, type Executor } from "./executor.ts";
import { composeFixture, type FixtureSubgraph } from "./fixtures/compose.ts";
import { createGraph } from "./fixtures/graph.ts";
import { shop } from "./fixtures/shop.ts";
import { progressiveOverrides } from "./fixtures/hard-supergraphs.ts";
import { keysFixture } from "./fixtures/supergraphs.ts";
import { createHivePlanner } from "./planning/hive-planner.ts";
import { createInProcessClient } from "./clients/in-process-client.ts";
import { createLocalPlanner } from "./fixtures/local-planner.ts";
import type { SubgraphClient } from "./clients/subgraph-client.ts";

function executorOf(subgraphs: Record<string, FixtureSubgraph>, options: { timeoutMs?: number } = {}): Executor {
  const { supergraphSdl, schemas } = composeFixture(subgraphs);
  return createExecutor({
    supergraphSdl,
    planner: createLocalPlanner({ supergraphSdl, cores: [createHivePlanner({ supergraphSdl })] }),
    clients: [...schemas].map(([name, schema]) =>
      createInProcessClient({ subgraph: { name, schema, createContext: (request) => request } }),
    ),
    ...options,
  });
}

const context = { caller: anonymous, requestId: "r1" };
const plain = (result: ExecutionResult): unknown => JSON.parse(JSON.stringify(result));

describe("queries", () => {
  const executor = executorOf(shop());
  const run = async (query: string, variables: Record<string, unknown> = {}) =>
    plain(await executor.execute({ query, variables, context }));

  test("a query over three subgraphs is answered in one piece", async () => {
    expect(await run(`{ product(upc: "1") { name reviews { body author { name } } shippingEstimate } }`)).toEqual({
      data: {
        product: {
          name: "Table",
          reviews: [
            { body: "Love it!", author: { name: "Ada" } },
            { body: "Prefer something else.", author: { name: "Alan" } },
          ],
          shippingEstimate: 50,
        },
      },
    });
  });

  test("aliases, fragments, variables and conditions are the client's", async () => {
    const query = `query Q($upc: ID!, $more: Boolean = false) {
      price: product(upc: $upc) { ...P upc: name @include(if: $more) weight: upc }
      kind: __typename
    } fragment P on Product { t: __typename reviews(first: 1) @skip(if: $more) { name: author { id: name } } }`;
    expect(await run(query, { upc: "2" })).toEqual({
      data: {
        price: { t: "Product", reviews: [{ name: { id: "Ada" } }], weight: "2" },
        kind: "Query",
      },
    });
    expect(await run(query, { upc: "2", more: true })).toEqual({
      data: { price: { t: "Product", upc: "Couch", weight: "2" }, kind: "Query" },
    });
  });

  test("null for a condition is an error, although its default value lets a nullable variable stand there", async () => {
    const query = `query ($more: Boolean = true) { me { id name @include(if: $more) } product(upc: "1") { ... @skip(if: $more) { name } } }`;
    const refused = {
      errors: [{ message: expect.stringContaining('"$more" is null'), extensions: { code: "BAD_USER_INPUT" } }],
    };
    expect(await run(query, { more: null })).toMatchObject(refused);
    expect(await run(query, { more: false })).toMatchObject({ data: { product: { name: "Table" } } });
    expect(await run(query)).toMatchObject({ data: { me: { name: "Ada" } } });
  });

  test("a mutation is run and its result completed from other subgraphs", async () => {
    expect(await run(`mutation { rename(upc: "3", name: "Stool") { name reviews { author { name } } } }`)).toEqual({
      data: { rename: { name: "Stool", reviews: [{ author: { name: "Alan" } }] } },
    });
  });

  test("introspection is answered from the API schema, beside other fields", async () => {
    const result = await run(
      `{ __type(name: "Product") { fields { name } } me { name } __schema { queryType { name } } }`,
    );
    expect(result).toEqual({
      data: {
        __type: {
          fields: ["upc", "name", "price", "weight", "reviews", "averageLength", "shippingEstimate"].map((name) => ({
            name,
          })),
        },
        me: { name: "Ada" },
        __schema: { queryType: { name: "Query" } },
      },
    });
  });

  test("an error keeps its path in the client's response, and its null goes up to the next nullable field", async () => {
    expect(await run(`{ p: product(upc: "1") { name length: averageLength } }`)).toEqual({
      data: { p: null },
      errors: [
        {
          message: "Something went wrong here. The log has it under this request id.",
          path: ["p", "length"],
          extensions: { code: "INTERNAL_SERVER_ERROR", service: "reviews", requestId: "r1" },
        },
      ],
    });
  });

  test("an unknown field is refused with its place", async () => {
    expect(await run(`{ nope }`)).toMatchObject({
      errors: [{ extensions: { code: "GRAPHQL_VALIDATION_FAILED" }, locations: [{ line: 1, column: 3 }] }],
    });
  });

  test("a wrong variable is refused before anything is asked", async () => {
    expect(await run(`query ($upc: ID!) { product(upc: $upc) { name } }`)).toMatchObject({
      errors: [{ extensions: { code: "BAD_USER_INPUT" } }],
    });
  });
});

describe("failures", () => {
  const { supergraphSdl, schemas } = composeFixture(shop());
  function executorWith(fake: Partial<SubgraphClient> & { name: string }, timeoutMs?: number): Executor {
    const clients = [...schemas].map(([name, schema]): SubgraphClient => {
      const real = createInProcessClient({ subgraph: { name, schema, createContext: (request) => request } });
      return name === fake.name ? { ...real, ...fake } : real;
    });
    return createExecutor({
      supergraphSdl,
      planner: createLocalPlanner({ supergraphSdl, cores: [createHivePlanner({ supergraphSdl })] }),
      clients,
      ...(timeoutMs !== undefined && { timeoutMs }),
    });
  }
  const query = `{ products(first: 1) { name reviews { body author { name } } } }`;

  test("a subgraph that is down costs its fields and not the answer", async () => {
    const executor = executorWith({ name: "users", execute: () => Promise.reject(new Error("ECONNREFUSED 10.0.0.1")) });
    expect(plain(await executor.execute({ query, context }))).toEqual({
      data: {
        products: [
          {
            name: "Table",
            reviews: [
              { body: "Love it!", author: null },
              { body: "Prefer something else.", author: null },
            ],
          },
        ],
      },
      errors: [
        {
          message: `The subgraph "users" could not be asked.`,
          path: ["products", 0, "reviews", 0, "author"],
          extensions: { code: "UPSTREAM_UNAVAILABLE", service: "users", requestId: "r1" },
        },
      ],
    });
  });

  test("a subgraph that never answers is given up at the deadline, and named", async () => {
    const executor = executorWith({ name: "reviews", execute: () => new Promise(() => undefined) }, 50);
    const result = plain(await executor.execute({ query: `{ me { name } reviews { body } }`, context }));
    expect(result).toMatchObject({
      data: null,
      errors: [{ path: ["reviews"], extensions: { code: "TIMEOUT", service: "reviews" } }],
    });
  });

  test("entities of another number than asked for are refused", async () => {
    const executor = executorWith({ name: "users", execute: async () => ({ data: { _entities: [{ name: "Eve" }] } }) });
    const result = plain(await executor.execute({ query, context }));
    expect(JSON.stringify(result)).not.toContain("Eve");
    expect(result).toMatchObject({ errors: [{ extensions: { code: "UPSTREAM_UNAVAILABLE" } }] });
  });

  test("an operation ends when its client is gone", async () => {
    const gone = new AbortController();
    const executor = executorWith({ name: "users", execute: () => new Promise(() => gone.abort()) });
    const result = await executor.execute({ query, context, signal: gone.signal });
    expect(result.errors).toHaveLength(1);
  });
});

test("an entity met at two places keeps what each place asked of it", async () => {
  const executor = executorOf({
    a: {
      typeDefs: `type Query { things: [Thing!]! } type Thing @key(fields: "id") { id: ID! }`,
      resolvers: { Query: { things: () => [{ id: "1" }, { id: "1" }] } },
    },
    b: {
      typeDefs: `type Thing @key(fields: "id") { id: ID! child: Child } type Child @key(fields: "id", resolvable: false) { id: ID! }`,
      resolvers: { Thing: { child: () => ({ id: "c" }) } },
    },
    c: {
      typeDefs: `type Child @key(fields: "id") { id: ID! value(n: Int!): Int }`,
      resolvers: { Child: { value: (_: unknown, { n }: { n: number }) => n } },
    },
  });
  const query = `{ x: things { child { value(n: 1) } } y: things { child { value(n: 2) } } }`;
  const thing = (value: number) => ({ child: { value } });
  expect(plain(await executor.execute({ query, context }))).toEqual({
    data: { x: [thing(1), thing(1)], y: [thing(2), thing(2)] },
  });
});

describe("planning", () => {
  test("an operation that ends the process when the native planner is given it as written is answered", async () => {
    const { supergraphSdl, schemas } = createGraph(keysFixture());
    const executor = createExecutor({
      supergraphSdl,
      planner: createLocalPlanner({ supergraphSdl, cores: [createHivePlanner({ supergraphSdl })] }),
      clients: [...schemas].map(([name, schema]) =>
        createInProcessClient({ subgraph: { name, schema, createContext: (request) => request } }),
      ),
    });
    const query = `query Q($v0: Boolean!, $v1: Boolean!, $v2: Boolean!) {
      users { friends: karma @include(if: $v0) a0: __typename a1: nick }
      ghost { ... on User { __typename id: organization { a2: id } __typename karma email } nick __typename badge @skip(if: $v1) }
      user(id: "1") {
        karma ... on User { __typename ghost: nick @skip(if: $v2) badge } nick: __typename
        ... on User { organization { title: name @skip(if: $v1) id: id } id __typename a3: badge }
      }
    }`;
    const result = await executor.execute({ query, variables: { v0: true, v1: true, v2: false }, context });
    expect(plain(result)).toMatchObject({
      data: {
        users: [
          { friends: 3.5, a1: null },
          { friends: 1, a1: "al" },
        ],
        user: null,
      },
    });
  });

  test("an operation that would be huge when written out is refused", async () => {
    const { supergraphSdl, schemas } = composeFixture(shop());
    const executor = createExecutor({
      supergraphSdl,
      planner: createLocalPlanner({ supergraphSdl, cores: [createHivePlanner({ supergraphSdl })] }),
      clients: [...schemas].map(([name, schema]) =>
        createInProcessClient({ subgraph: { name, schema, createContext: (request) => request } }),
      ),
    });
    const fragments = Array.from(
      { length: 14 },
      (_, i) =>
        `fragment F${i} on Product { a: reviews { product { ...F${i + 1} } } b: reviews { product { ...F${i + 1} } } }`,
    );
    const query = `{ products { ...F0 } } ${fragments.join(" ")} fragment F14 on Product { name }`;
    expect(plain(await executor.execute({ query, context }))).toMatchObject({
      errors: [{ extensions: { code: "BAD_USER_INPUT" }, message: expect.stringMatching(/more than 20000 fields/) }],
    });
  });

  test("conditions are decided before planning, so what is left out is not fetched", async () => {
    const { supergraphSdl, schemas } = composeFixture(shop());
    const asked: string[] = [];
    const executor = createExecutor({
      supergraphSdl,
      planner: createLocalPlanner({ supergraphSdl, cores: [createHivePlanner({ supergraphSdl })] }),
      clients: [...schemas].map(([name, schema]) => {
        const client = createInProcessClient({ subgraph: { name, schema, createContext: (request) => request } });
        return {
          ...client,
          execute(request) {
            asked.push(name);
            return client.execute(request);
          },
        } satisfies SubgraphClient;
      }),
    });
    const query = `query ($more: Boolean!) { product(upc: "1") { name reviews @include(if: $more) { body } } }`;
    await executor.execute({ query, variables: { more: false }, context });
    expect(asked.splice(0)).toEqual(["products"]);
    await executor.execute({ query, variables: { more: true }, context });
    expect(asked).toEqual(["products", "reviews"]);
  });
});

describe("what is asked for most", () => {
  const { supergraphSdl, schemas } = composeFixture(shop());
  function subject() {
    let planned = 0;
    const { plan, close } = createLocalPlanner({ supergraphSdl, cores: [createHivePlanner({ supergraphSdl })] });
    const executor = createExecutor({
      supergraphSdl,
      planner: { plan: (request) => (planned++, plan(request)), close },
      clients: [...schemas].map(([name, schema]) =>
        createInProcessClient({ subgraph: { name, schema, createContext: (request) => request } }),
      ),
    });
    return { executor, planned: () => planned };
  }

  test("is planned in a new executor before it is asked for", async () => {
    const before = subject().executor;
    const often = `query Often($more: Boolean!) { me { name @include(if: $more) id } }`;
    const seldom = `{ products { name } }`;
    await before.execute({ query: seldom, context });
    for (let i = 0; i < 3; i++) await before.execute({ query: often, variables: { more: true }, context });
    expect(before.hottestOperations(1)).toMatchObject([{ query: often, uses: 3, audience: "public" }]);

    const after = subject();
    const hot = before.hottestOperations(10);
    expect(await after.executor.warm([...hot, { ...hot[0]!, query: "{ gone }" }])).toEqual({ planned: 2, failed: 1 });
    expect(after.planned()).toBe(2);
    await after.executor.execute({ query: often, variables: { more: true }, context });
    await after.executor.execute({ query: seldom, context });
    expect(after.planned()).toBe(2);
  });

  test("stays, where there is room for a few only", async () => {
    const { plan, close } = createLocalPlanner({ supergraphSdl, cores: [createHivePlanner({ supergraphSdl })] });
    let planned = 0;
    const executor = createExecutor({
      supergraphSdl,
      maxCachedBytes: 400_000,
      planner: { plan: (request) => (planned++, plan(request)), close },
      clients: [...schemas].map(([name, schema]) =>
        createInProcessClient({ subgraph: { name, schema, createContext: (request) => request } }),
      ),
    });
    const often = "{ me { name } }";
    for (let i = 0; i < 100; i++) {
      await executor.execute({ query: `{ a${i}: products(first: 0) { name } }`, context });
      await executor.execute({ query: often, context });
    }
    expect(planned).toBe(101);
    expect(executor.hottestOperations(1_000).length).toBeLessThan(50);
  });
});

test("@defer is refused with what to do", async () => {
  const executor = executorOf(shop());
  const result = await executor.execute({ query: `{ me { ... @defer { name } } }`, context });
  expect(plain(result)).toMatchObject({
    errors: [
      {
        message: `The directive "@defer" is not supported here: every result comes in one piece. Leave it out.`,
        extensions: { code: "GRAPHQL_VALIDATION_FAILED" },
      },
    ],
  });
  expect(result.errors).toHaveLength(1);
});

test("@defer and @stream that are turned off change nothing", async () => {
  const executor = executorOf(shop());
  const query = `{ me { ... @defer(label: "a", if: false) { name } } products(first: 1) @stream(if: false, initialCount: 0) { upc } }`;
  expect(plain(await executor.execute({ query, context }))).toEqual({
    data: { me: { name: "Ada" }, products: [{ upc: "1" }] },
  });
  const refused = await executor.execute({
    query: `query Q($d: Boolean!) { me { ... @defer(if: $d) { name } } }`,
    context,
  });
  expect(refused.errors).toHaveLength(1);
});

test("an operation nested beyond what the stack holds is an error of the client", async () => {
  const executor = executorOf(shop());
  const depth = 100_000;
  const query = `${"{ a ".repeat(depth)}${"}".repeat(depth)}`;
  expect(plain(await executor.execute({ query, context }))).toMatchObject({
    errors: [{ extensions: { code: "BAD_USER_INPUT" } }],
  });
});

describe("progressive overrides", () => {
  const { supergraphSdl, schemas } = createGraph(progressiveOverrides());
  test.each([
    ["below its percentage, a field comes from the new subgraph", 39.9, [], ["old", "new"]],
    ["above, from the old one", 40, [], ["old"]],
    ["a label that is on moves its field", 100, ["new-dates"], ["old", "new"]],
  ])("%s", async (_what, percentage, labels, expected) => {
    for (const createCore of [createHivePlanner, createApolloPlanner]) {
      const asked: string[] = [];
      const executor = createExecutor({
        supergraphSdl,
        planner: createLocalPlanner({ supergraphSdl, cores: [createCore({ supergraphSdl })] }),
        overridePercentageOf: () => percentage,
        overrideLabelsOf: () => labels,
        clients: [...schemas].map(([name, schema]) => {
          const client = createInProcessClient({ subgraph: { name, schema, createContext: (request) => request } });
          return {
            ...client,
            execute: (request) => (asked.push(name), client.execute(request)),
          } satisfies SubgraphClient;
        }),
      });
      const query = labels.length > 0 ? "{ bills { due } }" : "{ bills { amount } }";
      expect((await executor.execute({ query, context })).errors).toBeUndefined();
      expect(asked).toEqual(expected);
    }
  });
});

describe("mutations", () => {
  test("each is completed from other subgraphs before the next begins", async () => {
    const { supergraphSdl, schemas } = composeFixture({
      a: {
        typeDefs: `type Query { a: Int } type Mutation { first: Thing second: Thing } type Thing @key(fields: "id") { id: ID! }`,
        resolvers: { Mutation: { first: () => ({ id: "1" }), second: () => ({ id: "2" }) } },
      },
      b: {
        typeDefs: `type Mutation { third: Int } type Query { b: Int }`,
        resolvers: { Mutation: { third: () => 3 } },
      },
      c: {
        typeDefs: `type Thing @key(fields: "id") { id: ID! owner: Owner } type Owner @key(fields: "id") { id: ID! }`,
        resolvers: { Thing: { owner: () => ({ id: "o" }) } },
      },
      d: {
        typeDefs: `type Owner @key(fields: "id") { id: ID! name: String }`,
        resolvers: { Owner: { name: () => "Ann" } },
      },
    });
    const order: string[] = [];
    const executor = createExecutor({
      supergraphSdl,
      planner: createLocalPlanner({ supergraphSdl, cores: [createHivePlanner({ supergraphSdl })] }),
      clients: [...schemas].map(([name, schema]) => {
        const client = createInProcessClient({ subgraph: { name, schema, createContext: (request) => request } });
        return {
          ...client,
          async execute(request) {
            order.push(`${name}: ${/\{(\w+)/.exec(request.query.replace(/^[^{]*/, ""))?.[1] ?? ""}`);
            return client.execute(request);
          },
        } satisfies SubgraphClient;
      }),
    });
    const query = `mutation { first { owner { name } } third second { owner { name } } }`;
    expect(plain(await executor.execute({ query, context }))).toEqual({
      data: { first: { owner: { name: "Ann" } }, third: 3, second: { owner: { name: "Ann" } } },
    });
    expect(order).toEqual([
      "a: first",
      "c: _entities",
      "d: _entities",
      "b: third",
      "a: second",
      "c: _entities",
      "d: _entities",
    ]);
  });
});

describe("what is for services only", () => {
  const executor = executorOf(shop());

  test("does not exist for others", async () => {
    const asked = await executor.execute({ query: `{ secret { token } }`, context });
    expect(asked.errors?.[0]?.message).toMatch(/Cannot query field "secret"/);
    const seen = await executor.execute({ query: `{ __type(name: "Secret") { name } }`, context });
    expect(plain(seen)).toEqual({ data: { __type: null } });
    expect(executor.apiSchema.getType("Secret")).toBeUndefined();
  });

  test("is served to services", async () => {
    const service = { caller: createServiceCaller("proxy", []), requestId: "r2" };
    expect(plain(await executor.execute({ query: `{ secret { token } }`, context: service }))).toEqual({
      data: { secret: { token: "t" } },
    });
  });
});
