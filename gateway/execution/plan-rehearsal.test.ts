import { parse } from "graphql";
import { describe, expect, test } from "vitest";
import { createApiSchema } from "./api-schema.ts";
import { createApolloPlanner } from "./apollo-planner.ts";
import { createGraph } from "./fixtures/graph.ts";
import { requiringTypedInterfaceObjects } from "./fixtures/hard-supergraphs.ts";
import { graphFixtures, keysFixture } from "./fixtures/supergraphs.ts";
import { createHivePlanner } from "./hive-planner.ts";
import { createPlanRehearsal } from "./plan-rehearsal.ts";
import type { PlannedSelection } from "./plan-repair.ts";
import type { PlanNode, QueryPlan } from "./query-plan.ts";
import { readSubgraphTypes } from "./subgraph-types.ts";
import { parseSupergraph } from "./supergraph.ts";

function rehearsalFor(supergraphSdl: string) {
  const supergraph = parseSupergraph(supergraphSdl);
  const schema = createApiSchema({ supergraph: supergraph.document });
  const types = readSubgraphTypes(supergraph.document);
  const rehearse = createPlanRehearsal({ schema, supergraph, types });
  return (plan: QueryPlan, operation: string) => {
    const [definition] = parse(operation).definitions;
    const rootType = schema.getQueryType();
    if (definition?.kind !== "OperationDefinition" || !rootType) throw new Error("Not a query.");
    const planned: PlannedSelection = { rootType, selectionSet: definition.selectionSet, variableDefinitions: [] };
    return rehearse(plan, planned);
  };
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
    expect(await rehearse({ node }, operation)).toBe(true);
    const fetches = JSON.stringify(node).match(/"operation":/g)?.length ?? 0;
    expect(fetches).toBeGreaterThan(4);
    for (let index = 0; index < fetches; index++)
      expect(await rehearse({ node: node && without(node, index) }, operation), `fetch ${index}`).toBe(false);
  });

  test("finds out that a subgraph is not sent what it requires", async () => {
    const fixture = createGraph(requiringTypedInterfaceObjects());
    const { node } = createHivePlanner(fixture).plan(requestFor("{ patients { greeting } }"));
    const withoutName = (json: string): unknown =>
      JSON.parse(json.replaceAll(/\{"kind":"Field","name":"name","alias":null,"selections":null\},?/g, ""));
    const right = rehearsalFor(fixture.supergraphSdl);
    expect(await right({ node }, "{ patients { greeting } }")).toBe(true);
    // A plan, without one element of a list.
    const changed = withoutName(JSON.stringify(node)) as PlanNode;
    expect(JSON.stringify(changed)).not.toBe(JSON.stringify(node));
    expect(await right({ node: changed }, "{ patients { greeting } }")).toBe(false);
  });

  test.each(graphFixtures.map((create) => [create().name, create] as const))(
    "finds nothing wrong with reading everything at once of %s",
    async (_name, create) => {
      const graph = createGraph(create());
      const schema = createApiSchema({ supergraph: parse(graph.supergraphSdl) });
      const roots = Object.values(schema.getQueryType()?.getFields() ?? {}).filter(({ args }) => args.length === 0);
      const all = `{ ${roots.map(({ name, type }) => (/^\[?(String|Int)/.test(String(type)) ? name : `${name} { __typename }`)).join(" ")} }`;
      const plan = createHivePlanner(graph).plan(requestFor(all));
      expect(await rehearsalFor(graph.supergraphSdl)(plan, all)).toBe(true);
    },
  );
});
