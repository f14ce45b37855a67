import { getNamedType, isLeafType, parse } from "graphql";
import { describe, expect, test, vi } from "vitest";
import { createApiSchema } from "../schema/api-schema.ts";
import { createApolloPlanner } from "./apollo-planner.ts";
import { composeFixture } from "../fixtures/compose.ts";
import { createGraph } from "../fixtures/graph.ts";
import { conflictingArguments, intersections, requiringTypedInterfaceObjects } from "../fixtures/hard-supergraphs.ts";
import { graphFixtures, keysFixture } from "../fixtures/supergraphs.ts";
import { createHivePlanner } from "./hive-planner.ts";
import { createPlanSafeguards } from "./plan-safeguards.ts";
import { createPlanRehearsal } from "./plan-rehearsal.ts";
import type { PlanNode, QueryPlan } from "./query-plan.ts";
import { readSubgraphTypes } from "../schema/subgraph-types.ts";
import { parseSupergraph } from "../schema/supergraph.ts";

function rehearsalFor(supergraphSdl: string) {
  const { rehearse } = createPlanSafeguards(supergraphSdl);
  return (plan: QueryPlan, operation: string) => rehearse(plan, requestFor(operation));
}

const requestFor = (operation: string) => ({
  operation,
  operationName: null,
  overrideLabels: [],
  overridePercentage: 100,
});

/** The plan without its fetch number `index`. */
function without(node: PlanNode, index: number, counter = { seen: 0 }): PlanNode | null {
  if (node.kind === "Sequence" || node.kind === "Parallel")
    return { ...node, nodes: node.nodes.flatMap((inner) => without(inner, index, counter) ?? []) };
  return counter.seen++ === index ? null : node;
}

describe("rehearsing a plan", () => {
  const operation =
    "{ users { name karma organization { name } friends { badge } } items { title stock owner { nick } } }";
  const { supergraphSdl } = createGraph(keysFixture());
  const rehearse = rehearsalFor(supergraphSdl);

  test.each([
    ["the native planner", createHivePlanner],
    ["Apollo's planner", createApolloPlanner],
  ])("finds a plan of %s right, and wrong without any one of its fetches", async (_name, createPlanner) => {
    const { node } = createPlanner({ supergraphSdl }).plan(requestFor(operation));
    expect(await rehearse({ node }, operation)).toBeNull();
    const fetches = JSON.stringify(node).match(/"operation":/g)?.length ?? 0;
    expect(fetches).toBeGreaterThan(4);
    for (let index = 0; index < fetches; index++)
      expect(await rehearse({ node: node && without(node, index) }, operation), `fetch ${index}`).not.toBeNull();
  });

  test("finds out that a subgraph is not sent what it requires", async () => {
    const fixture = createGraph(requiringTypedInterfaceObjects());
    const { node } = createHivePlanner(fixture).plan(requestFor("{ patients { greeting } }"));
    const withoutName = (json: string): unknown =>
      JSON.parse(json.replaceAll(/\{"kind":"Field","name":"name","alias":null,"selections":null\},?/g, ""));
    const right = rehearsalFor(fixture.supergraphSdl);
    expect(await right({ node }, "{ patients { greeting } }")).toBeNull();
    // A plan, without one element of a list.
    const changed = withoutName(JSON.stringify(node)) as PlanNode;
    expect(JSON.stringify(changed)).not.toBe(JSON.stringify(node));
    expect(await right({ node: changed }, "{ patients { greeting } }")).toMatch(
      /without what that requires|instead of/,
    );
  });

  test.each([
    ["another argument than is required", "EUR", "USD", /without what that requires/],
    ["another argument than the client's", "GBP", "USD", /instead of/],
    ["another field under the client's key", "title", "title:id", /instead of/],
    ["a field that the subgraph does not have", "title", "title:heading", /would refuse.*heading/],
    ["two fields under one key", "title", "title title:id", /would refuse.*conflict/],
    ["a key that no entity has", '"name":"id","alias":null', '"name":"title","alias":"id"', /an entity that is none/],
  ])("finds out that a subgraph is asked for %s", async (_name, part, other, fault) => {
    const { supergraphSdl: sdl } = createGraph(conflictingArguments());
    const query = '{ articles { title euros pounds_: price(currency: "GBP") } }';
    const judge = rehearsalFor(sdl);
    const plan = JSON.stringify(createHivePlanner({ supergraphSdl: sdl }).plan(requestFor(query)));
    expect(await judge(JSON.parse(plan), query)).toBeNull();
    const changed = plan.replaceAll(part, other);
    expect(changed).not.toBe(plan);
    expect(await judge(JSON.parse(changed), query)).toMatch(fault);
  });

  test("finds out what is missing of objects of any one type below others, each reached alone", async () => {
    const names = ["A", "B", "C"];
    const { supergraphSdl: sdl } = composeFixture({
      a: {
        typeDefs: `type Query { i: I } interface I { id: ID! next(n: Int): I }
          ${names.map((name) => `type ${name} implements I @key(fields: "id") { id: ID! next(n: Int): I }`).join("\n")}`,
        resolvers: {},
      },
      b: {
        typeDefs: names.map((name) => `type ${name} @key(fields: "id") { id: ID! v: Int }`).join("\n"),
        resolvers: {},
      },
    });
    const judge = rehearsalFor(sdl);
    const planner = createHivePlanner({ supergraphSdl: sdl });
    for (const first of names)
      for (const second of names)
        for (const third of names) {
          const query = `{ i { ... on ${first} { next { ... on ${second} { next { ... on ${third} { v } } } } } } }`;
          const { node } = planner.plan(requestFor(query));
          expect(await judge({ node }, query), query).toBeNull();
          expect(await judge({ node: node && without(node, 1) }, query), query).not.toBeNull();
        }
  });

  test("finds out that the type is not asked of objects of an interface that is an object in their subgraph", async () => {
    const { supergraphSdl: sdl } = composeFixture({
      a: {
        typeDefs: `type Query { i: I } interface I @key(fields: "id") { id: ID! }
          type A implements I @key(fields: "id") { id: ID! } type B implements I @key(fields: "id") { id: ID! }`,
        resolvers: {},
      },
      b: { typeDefs: `type I @key(fields: "id") @interfaceObject { id: ID! kids: [I!] b: Int }`, resolvers: {} },
    });
    const judge = rehearsalFor(sdl);
    for (const [outer, inner] of ["AA", "AB", "BA", "BB"]) {
      const query = `{ i { ... on ${outer} { kids { ... on ${inner} { b } } } } }`;
      const untyped = `{ i { ... on ${outer} { kids { b } } } }`;
      const { node } = createHivePlanner({ supergraphSdl: sdl }).plan(requestFor(untyped));
      expect(await judge({ node }, untyped), untyped).toBeNull();
      expect(await judge({ node }, query), query).not.toBeNull();
    }
  });

  test("is made ready before the first operation, which no reading of all that there is makes late", async () => {
    const numbers = Array.from({ length: 40 }, (_, i) => i);
    const { supergraphSdl: sdl } = composeFixture(
      Object.fromEntries(
        numbers.map((i) => [
          `s${i}`,
          { typeDefs: `type Query { q${i}: E${i} } type E${i} @key(fields: "id") { id: ID! }`, resolvers: {} },
        ]),
      ),
    );
    const supergraph = parseSupergraph(sdl);
    const types = readSubgraphTypes(supergraph.document);
    const readKeys = vi.spyOn(types, "keys");
    const schema = createApiSchema({ supergraph: supergraph.document });
    const rehearse = createPlanRehearsal({ supergraph, types, schema });
    expect(readKeys.mock.calls.length).toBeGreaterThanOrEqual(numbers.length);
    readKeys.mockClear();
    const { node } = createHivePlanner({ supergraphSdl: sdl }).plan(requestFor("{ q0 { id } }"));
    expect(await rehearse({ node }, requestFor("{ q0 { id } }"))).toBeNull();
    expect(readKeys.mock.calls.length).toBeLessThan(numbers.length);
  });

  test("finds out that a mutation is done twice, or out of turn", async () => {
    const { supergraphSdl: sdl } = createGraph(intersections());
    const judge = rehearsalFor(sdl);
    const query = 'mutation { open(id: "1") { id } carry(id: "2") { id } close(id: "3") { id } }';
    const { node } = createHivePlanner({ supergraphSdl: sdl }).plan(requestFor(query));
    if (node?.kind !== "Sequence") throw new Error("Another plan than was thought.");
    expect(await judge({ node }, query)).toBeNull();
    const [first, ...others] = node.nodes;
    const twice = { ...node, nodes: first ? [...node.nodes, first] : [] };
    expect(await judge({ node: twice }, query)).toContain("mutations");
    const late = { ...node, nodes: first ? [...others, first] : [] };
    expect(await judge({ node: late }, query)).toContain("mutations");
  });

  test.each(graphFixtures.map((create) => [create().name, create] as const))(
    "finds nothing wrong with reading everything at once of %s",
    async (_name, create) => {
      const graph = createGraph(create());
      const schema = createApiSchema({ supergraph: parse(graph.supergraphSdl) });
      const roots = Object.values(schema.getQueryType()?.getFields() ?? {}).filter(({ args }) => args.length === 0);
      const all = `{ ${roots.map(({ name, type }) => (isLeafType(getNamedType(type)) ? name : `${name} { __typename }`)).join(" ")} }`;
      const plan = createHivePlanner(graph).plan(requestFor(all));
      expect(await rehearsalFor(graph.supergraphSdl)(plan, all)).toBeNull();
    },
  );
});
