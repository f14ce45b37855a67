import { GraphQLError } from "graphql";
import { describe, expect, test } from "vitest";
import { anonymous } from "@toolyard/service-kit";
import { createExecutor } from "./executor.ts";
import { composeFixture, type FixtureResolvers } from "./fixtures/compose.ts";
import { createStrictExecutor, plannersInTurn } from "./fixtures/strict-executor.ts";
import { createHivePlanner } from "./planning/hive-planner.ts";
import { createInProcessClient } from "./clients/in-process-client.ts";

const context = { caller: anonymous, requestId: "r" };

interface P {
  id: string;
  f?: number;
  eur?: number | null;
  dims?: { h: number };
}
const reference = { __resolveReference: (it: unknown) => it };

/** A required argument beside the client's own, which is another, through two hops. */
const requiredArguments = () =>
  composeFixture({
    a: {
      typeDefs: `type Query { p: P } type P @key(fields: "id") { id: ID! f(u: Int): Int }`,
      resolvers: {
        Query: { p: () => ({ id: "1" }) },
        P: { ...reference, f: (_: P, { u }: { u?: number | null }) => u ?? 0 },
      },
    },
    b: {
      typeDefs: `type P @key(fields: "id") { id: ID! f(u: Int): Int @external eur: Int @requires(fields: "f(u: 7)") rel: [P] }`,
      resolvers: { P: { ...reference, eur: ({ f }: P) => (f ?? Number.NaN) * 10, rel: ({ id }: P) => [{ id }] } },
    },
    c: {
      typeDefs: `type P @key(fields: "id") { id: ID! eur: Int @external tot: Int @requires(fields: "eur") }`,
      resolvers: { P: { ...reference, tot: ({ eur }: P) => (eur ?? Number.NaN) * 2 } },
    },
  });

/** The same, where objects are required of which the client wants another part. */
const requiredObjects = () =>
  composeFixture({
    a: {
      typeDefs: `type Query { p: P } type P @key(fields: "id") { id: ID! dims(u: Int): Dims } type Dims { h: Int w: Int }`,
      resolvers: {
        Query: { p: () => ({ id: "1" }) },
        P: { ...reference, dims: (_: P, { u }: { u?: number | null }) => ({ h: (u ?? 0) + 1, w: (u ?? 0) + 2 }) },
      },
    },
    b: {
      typeDefs: `
        type P @key(fields: "id") { id: ID! dims(u: Int): Dims @external eur: Int @requires(fields: "dims(u: 100) { h }") rel: [P] }
        type Dims { h: Int @external }
      `,
      resolvers: {
        P: { ...reference, eur: ({ dims }: P) => (dims?.h ?? Number.NaN) * 10, rel: ({ id }: P) => [{ id }] },
      },
    },
    c: {
      typeDefs: `type P @key(fields: "id") { id: ID! eur: Int @external tot: Int @requires(fields: "eur") }`,
      resolvers: { P: { ...reference, tot: ({ eur }: P) => (eur ?? Number.NaN) * 2 } },
    },
  });

/** One field of an interface with other nullability in each implementation. */
const mixedNullability = () => {
  const all = [
    { __typename: "Bk", id: "1" },
    { __typename: "Mv", id: "2" },
  ];
  return composeFixture({
    a: {
      typeDefs: `
        type Query { all: [M!] }
        interface M { id: ID! }
        type Bk implements M @key(fields: "id") { id: ID! }
        type Mv implements M @key(fields: "id") { id: ID! }
      `,
      resolvers: { Query: { all: () => all }, Bk: reference, Mv: reference },
    },
    b: {
      typeDefs: `
        interface M { id: ID! rating: Int }
        type Bk implements M @key(fields: "id") { id: ID! rating: Int }
        type Mv implements M @key(fields: "id") { id: ID! rating: Int! }
      `,
      resolvers: { Bk: { ...reference, rating: () => null }, Mv: { ...reference, rating: () => 5 } },
    },
  });
};

/** One required field with another type in each member of a union. */
const mixedTypes = () => {
  const member = (v: unknown) => ({ ...reference, v: () => v });
  const requiring = { ...reference, r: ({ v }: { v: unknown }) => JSON.stringify(v) };
  const us = ["A", "B", "C"].map((__typename) => ({ __typename, id: __typename }));
  const external = (type: string) =>
    `@key(fields: "id") { id: ID! v: ${type} @external r: String @requires(fields: "v") }`;
  return composeFixture({
    a: {
      typeDefs: `
        type Query { us: [U!]! } union U = A | B | C
        type A @key(fields: "id") { id: ID! v: Int! }
        type B @key(fields: "id") { id: ID! v: String }
        type C @key(fields: "id") { id: ID! v: [Int] }
      `,
      resolvers: { Query: { us: () => us }, A: member(1), B: member("x"), C: member([1, null]) },
    },
    b: {
      typeDefs: `type A ${external("Int!")} type B ${external("String")} type C ${external("[Int]")}`,
      resolvers: { A: requiring, B: requiring, C: requiring },
    },
  });
};

/** The root type further down, with its fields in other subgraphs. */
const queryBelow = () =>
  composeFixture({
    a: {
      typeDefs: `
        type Query { a: A one: Int fails: A } type Mutation { change: Payload! }
        type A { q: Query! } type Payload { ok: Boolean! query: Query! all: [Query!] }
      `,
      resolvers: {
        Query: { a: () => ({}), one: () => 1 },
        A: { q: () => ({}) },
        Mutation: { change: () => ({ ok: true, all: [{}, {}] }) },
        Payload: { query: () => ({}) },
      },
    },
    b: {
      typeDefs: `type Query { two: Int broken: Int item(n: Int): Item } type Item @key(fields: "id") { id: ID! }`,
      resolvers: {
        Query: {
          two: () => 2,
          item: (_: unknown, { n }: { n: number }) => ({ id: String(n) }),
          broken: () => {
            throw new GraphQLError("It is broken.", { extensions: { code: "NOT_FOUND" } });
          },
        },
      },
    },
    c: {
      typeDefs: `type Item @key(fields: "id") { id: ID! name: String }`,
      resolvers: { Item: { ...reference, name: ({ id }: { id: string }) => `item ${id}` } },
    },
  });

const typeNameKeys = () =>
  composeFixture({
    a: {
      typeDefs: `type Query { shop: Shop shops: [Shop!]! } type Shop @key(fields: "__typename") { name: String }`,
      resolvers: { Query: { shop: () => ({ name: "s" }), shops: () => [{ name: "s" }] }, Shop: reference },
    },
    b: {
      typeDefs: `type Shop @key(fields: "__typename") { rating: Int }`,
      resolvers: { Shop: { ...reference, rating: () => 5 } },
    },
  });

/** Objects known by their interface, with a chain of requirements below a list of themselves. */
const interfaceObjects = (kids = "kids: [I!]") => {
  const typeOf: Record<string, string> = { "1": "A", "2": "B" };
  const I = (resolvers: FixtureResolvers[string]) => ({ ...reference, ...resolvers });
  const both = Object.entries(typeOf).map(([id, __typename]) => ({ id, __typename }));
  return composeFixture({
    a: {
      typeDefs: `
        interface I @key(fields: "id") { id: ID! a: Int }
        type A implements I @key(fields: "id") { id: ID! a: Int }
        type B implements I @key(fields: "id") { id: ID! a: Int }
        type Query { is: [I!]! i: I }
      `,
      resolvers: {
        Query: { is: () => both, i: () => both[0] },
        I: {
          __resolveReference: ({ id }: { id: string }) => ({ id, __typename: typeOf[id] }),
          __resolveType: ({ __typename }: { __typename: string }) => __typename,
        },
        A: { ...reference, a: ({ id }: { id: string }) => Number(id) },
        B: { ...reference, a: ({ id }: { id: string }) => Number(id) },
      },
    },
    b: {
      typeDefs: `
        type I @key(fields: "id") @interfaceObject { id: ID! a: Int @external b: Int @requires(fields: "a") ${kids} w: W }
        type W @key(fields: "k") { k: ID! }
      `,
      resolvers: {
        I: I({
          b: ({ a }: { a: number }) => a * 10,
          kids: (_: unknown, { n }: { n?: number }) => both.slice(0, n ?? 1).map(({ id }) => ({ id })),
          w: () => ({ k: "w" }),
        }),
        W: reference,
      },
    },
    c: {
      typeDefs: `
        type I @key(fields: "id") @interfaceObject { id: ID! b: Int @external c: String! @requires(fields: "b") }
        type W @key(fields: "k") { k: ID! of: I }
      `,
      resolvers: {
        I: I({ c: ({ b }: { b: number }) => `c${b}` }),
        W: { ...reference, of: () => ({ id: "2" }) },
      },
    },
  });
};

describe.each(plannersInTurn)("planned by %s", (_name, coresOf) => {
  const answer = async (composed: ReturnType<typeof composeFixture>, query: string) => {
    const executor = createStrictExecutor(composed, coresOf(composed));
    return executor.execute({ query, context });
  };

  test.each([
    ["{ p { tot f } }", { p: { tot: 140, f: 0 } }],
    ["{ p { rel { tot f } } }", { p: { rel: [{ tot: 140, f: 0 }] } }],
    ["{ p { f tot rel { f(u: 1) tot rel { tot eur f(u: 2) } } } }", null],
    ["{ p { rel { tot } } again: p { rel { f eur g: f(u: 3) } } }", null],
    ["{ p { eur f rel { f eur } } }", null],
  ])("%s: a required argument is not the client's", async (query, expected) => {
    const result = await answer(requiredArguments(), query);
    expect(result.errors).toBeUndefined();
    if (expected) expect(result.data).toEqual(expected);
    else expect(JSON.stringify(result.data)).toMatch(/"(tot":140|eur":70)/);
    for (const [, key, value] of JSON.stringify(result.data).matchAll(/"(\w+)":(\d+)/g))
      expect({ tot: [140], eur: [70], f: [0, 1, 2], g: [3] }[key ?? ""], query).toContain(Number(value));
  });

  test.each([
    ["{ p { rel { tot dims { w } } } }", { p: { rel: [{ tot: 2020, dims: { w: 2 } }] } }],
    ["{ p { rel { tot dims { h } } } }", { p: { rel: [{ tot: 2020, dims: { h: 1 } }] } }],
    ["{ p { tot dims(u: 5) { h w } } }", { p: { tot: 2020, dims: { h: 6, w: 7 } } }],
    [
      "{ p { eur dims { w } rel { dims(u: 1) { w } eur } } }",
      { p: { eur: 1010, dims: { w: 2 }, rel: [{ dims: { w: 3 }, eur: 1010 }] } },
    ],
  ])("%s: a required object is not the client's", async (query, data) => {
    expect(await answer(requiredObjects(), query)).toEqual({ data });
  });

  test("a field that is nullable for some implementations only is asked for as its subgraph accepts it", async () => {
    expect(await answer(mixedNullability(), "{ all { id rating } }")).toEqual({
      data: {
        all: [
          { id: "1", rating: null },
          { id: "2", rating: 5 },
        ],
      },
    });
  });

  test("a required field that has another type in each member of a union is required of each", async () => {
    const query = "{ us { ... on A { r } ... on B { r } ... on C { r } } }";
    expect(await answer(mixedTypes(), query)).toEqual({ data: { us: [{ r: "1" }, { r: '"x"' }, { r: "[1,null]" }] } });
  });

  test.each([
    ["{ a { q { two } } }", { a: { q: { two: 2 } } }],
    [
      "{ a { q { one two a { q { two } } item(n: 3) { name } } } two }",
      { a: { q: { one: 1, two: 2, a: { q: { two: 2 } }, item: { name: "item 3" } } }, two: 2 },
    ],
    [
      "mutation { change { ok query { two one } all { two item(n: 1) { name } } } }",
      {
        change: {
          ok: true,
          query: { two: 2, one: 1 },
          all: [
            { two: 2, item: { name: "item 1" } },
            { two: 2, item: { name: "item 1" } },
          ],
        },
      },
    ],
  ])("%s: fields of the root type further down are had from wherever they are", async (query, data) => {
    expect(await answer(queryBelow(), query)).toEqual({ data });
  });

  test("an error of such a field is told where the field is", async () => {
    const result = await answer(queryBelow(), "mutation { change { query { x: broken } all { broken } } }");
    expect(result.data).toEqual({ change: { query: { x: null }, all: [{ broken: null }, { broken: null }] } });
    expect(result.errors?.map(({ path }) => path?.join("."))).toEqual(
      expect.arrayContaining(["change.query.x", "change.all.0.broken", "change.all.1.broken"]),
    );
  });

  test("an entity whose key is its type is fetched", async () => {
    expect(await answer(typeNameKeys(), "{ shop { rating name } shops { rating } }")).toEqual({
      data: { shop: { rating: 5, name: "s" }, shops: [{ rating: 5 }] },
    });
  });

  test.each([
    ["{ is { kids { b c } } }", { is: [{ kids: [{ b: 10, c: "c10" }] }, { kids: [{ b: 10, c: "c10" }] }] }],
    [
      "{ i { w { of { __typename id ... on A { a } ... on B { c kids { c a __typename } } } } } }",
      { i: { w: { of: { __typename: "B", id: "2", c: "c20", kids: [{ c: "c10", a: 1, __typename: "A" }] } } } },
    ],
  ])("%s: objects known by their interface have everything", async (query, data) => {
    expect(await answer(interfaceObjects(), query)).toEqual({ data });
  });

  test("each type of object known by an interface has its own arguments", async () => {
    const query = "{ is { ... on A { kids { id } } ... on B { kids(n: 2) { id } } } }";
    expect(await answer(interfaceObjects("kids(n: Int): [I!]"), query)).toEqual({
      data: { is: [{ kids: [{ id: "1" }] }, { kids: [{ id: "1" }, { id: "2" }] }] },
    });
  });
});

describe.each(plannersInTurn)("what a field requires, planned by %s", (_name, coresOf) => {
  const failing = (f: () => unknown) =>
    composeFixture({
      a: {
        typeDefs: `
          type Query { p: P ps: [P] }
          type P @key(fields: "id") { id: ID! f(u: Int): Int dims: Dims deep: [Deep] } type Dims { h: Int w: Int } type Deep { x: Int }
        `,
        resolvers: {
          Query: { p: () => ({ id: "1" }), ps: () => [{ id: "1" }, null, { id: "2" }] },
          P: { ...reference, f, dims: () => ({ w: 2 }), deep: () => [{}, {}] },
          Dims: { h: f },
          Deep: { x: f },
        },
      },
      b: {
        typeDefs: `
          type P @key(fields: "id") {
            id: ID! f(u: Int): Int @external dims: Dims @external deep: [Deep] @external
            eur: Int @requires(fields: "f(u: 7)") size: Int @requires(fields: "dims { h }") depth: Int @requires(fields: "deep { x }")
          }
          type Dims { h: Int @external } type Deep { x: Int @external }
        `,
        resolvers: {
          P: {
            ...reference,
            eur: ({ f: given }: P) => given ?? -1,
            size: ({ dims }: P) => dims?.h ?? -2,
            depth: ({ deep }: { deep: { x: number | null }[] }) => deep[0]?.x ?? -3,
          },
        },
      },
    });
  const failed = () => {
    throw new GraphQLError("It failed.", { extensions: { code: "NOT_FOUND" } });
  };

  test.each([
    ["{ p { eur } }", { p: { eur: -1 } }, ["p"]],
    ["{ p { size dims { w } } }", { p: { size: -2, dims: { w: 2 } } }, ["p"]],
    ["{ x: p { depth } }", { x: { depth: -3 } }, ["x"]],
    ["{ ps { eur } }", { ps: [{ eur: -1 }, null, { eur: -1 }] }, ["ps.0", "ps.2"]],
    ["{ p { eur f(u: 7) } }", { p: { eur: -1, f: null } }, ["p.f"]],
    ["{ p { id } }", { p: { id: "1" } }, []],
  ])("%s: its error is told, once, though a value was made of the null", async (query, data, paths) => {
    const executor = createStrictExecutor(failing(failed), coresOf(failing(failed)));
    const result = await executor.execute({ query, context });
    expect(result.data).toEqual(data);
    expect(
      result.errors?.map(({ path, message, extensions }) => [path?.join("."), message, extensions["code"]]) ?? [],
    ).toEqual(paths.map((path) => [path, "It failed.", "NOT_FOUND"]));
  });
});

test.each(plannersInTurn)(
  "objects known by their interface only are complete where they are met as those of another, planned by %s",
  async (_name, coresOf) => {
    const both = { "1": "X", "2": "Y" };
    const composed = composeFixture({
      a: {
        typeDefs: `
          interface Node { id: ID! } interface I implements Node @key(fields: "id") { id: ID! a: Int }
          type X implements I & Node @key(fields: "id") { id: ID! a: Int }
          type Y implements I & Node @key(fields: "id") { id: ID! a: Int y: Int }
          type Query { hello: Int }
        `,
        resolvers: {
          I: {
            __resolveReference: (it: { id: "1" | "2" }) => ({ ...it, __typename: both[it.id] }),
            __resolveType: ({ id }: { id: "1" | "2" }) => both[id],
          },
          X: { ...reference, a: () => 1 },
          Y: { ...reference, a: () => 2, y: () => 3 },
        },
      },
      b: {
        typeDefs: `
          interface Node { id: ID! } type I implements Node @interfaceObject @key(fields: "id") { id: ID! b: String }
          type Query { node: Node nodes: [Node!]! }
        `,
        resolvers: {
          Query: {
            node: () => ({ id: "2", __typename: "I" }),
            nodes: () => ["1", "2"].map((id) => ({ id, __typename: "I" })),
          },
          Node: { __resolveType: () => "I" },
          I: { ...reference, b: ({ id }: { id: string }) => `b${id}` },
        },
      },
    });
    const executor = createStrictExecutor(composed, coresOf(composed));
    const query = "{ node { id ... on I { b a } } nodes { __typename ... on Y { y b } ... on X { a } } }";
    expect(await executor.execute({ query, context })).toEqual({
      data: {
        node: { id: "2", b: "b2", a: 2 },
        nodes: [
          { __typename: "X", a: 1 },
          { __typename: "Y", y: 3, b: "b2" },
        ],
      },
    });
  },
);

test("interfaces of many types below each other, there and back, are planned step by step without a part for each way", async () => {
  const names = Array.from({ length: 30 }, (_, i) => `T${i}`);
  const next = ({ id }: { id: string }) => [{ id: String(Number(id) + 1) }];
  const typeOf = { __resolveType: ({ id }: { id: string }) => `T${id}` };
  const subgraph = (field: string, more: string) => `
    interface I { id: ID! ${field}: [I!] } ${more}
    ${names.map((name) => `type ${name} implements I @key(fields: "id") { id: ID! ${field}: [I!] }`).join("\n")}
  `;
  const composed = composeFixture({
    a: {
      typeDefs: subgraph("near", "type Query { n: I }"),
      resolvers: {
        Query: { n: () => ({ id: "0" }) },
        I: typeOf,
        ...Object.fromEntries(names.map((name) => [name, { ...reference, near: next }])),
      },
    },
    b: {
      typeDefs: subgraph("far", ""),
      resolvers: { I: typeOf, ...Object.fromEntries(names.map((name) => [name, { ...reference, far: next }])) },
    },
  });
  const executor = createStrictExecutor(composed, []);
  const query = `{ n { id ${"near { id far { id ".repeat(6)} ${"} }".repeat(6)} } }`;
  const { data, errors } = await executor.execute({ query, context });
  expect(errors).toBeUndefined();
  expect(JSON.stringify(data)).toContain(`{"id":"12"}`);
});

/** Apollo's planner takes a minute for it. */
describe("an operation that one planner plans wrongly and the other not in time", () => {
  const query = "{ i { w { of { ... on B { b } } } } }";
  const expected = { data: { i: { w: { of: { b: 20 } } } } };

  test("is planned step by step", async () => {
    const composed = interfaceObjects();
    const executor = createStrictExecutor(composed, [createHivePlanner(composed)]);
    expect(await executor.execute({ query, context })).toEqual(expected);
  });

  test("is answered soon by planners in processes of their own", async () => {
    const { supergraphSdl, schemas } = interfaceObjects();
    const executor = createExecutor({
      supergraphSdl,
      clients: [...schemas].map(([name, schema]) =>
        createInProcessClient({ subgraph: { name, schema, createContext: (request) => request } }),
      ),
    });
    try {
      expect(await executor.execute({ query, context })).toEqual(expected);
    } finally {
      await executor.close();
    }
  });
});
