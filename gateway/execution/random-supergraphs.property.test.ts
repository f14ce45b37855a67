import { execute as executeWithGraphqlJs, parse } from "graphql";
import { expect, test } from "vitest";
import { anonymous } from "@toolyard/service-kit";
import { createApiSchema } from "./schema/api-schema.ts";
import { createGraph, type Graph } from "./fixtures/graph.ts";
import { generateOperation } from "./fixtures/operations.ts";
import { randomSupergraph } from "./fixtures/random-supergraph.ts";
import { createStrictExecutor } from "./fixtures/strict-executor.ts";
import { createPlanSafeguards } from "./planning/plan-safeguards.ts";

/** How many supergraphs, of eight operations each. RANDOM_SUPERGRAPHS=1000 after a change of planning. */
const graphs = Number(process.env["RANDOM_SUPERGRAPHS"] ?? 25);
const operationsPerGraph = 8;

const context = { caller: anonymous, requestId: "r" };

/** Null where what was made up does not compose. */
function compose(seed: number): Graph | null {
  try {
    return createGraph(randomSupergraph(seed));
  } catch {
    return null;
  }
}

test(
  "a plan made step by step answers every operation over every supergraph as graphql-js does, in valid requests, and is judged right",
  async () => {
    let composed = 0;
    for (let seed = 1; seed <= graphs; seed++) {
      const graph = compose(seed);
      if (!graph) continue;
      composed++;
      const { supergraphSdl } = graph;
      const faults: string[] = [];
      const { stepwise } = createPlanSafeguards(supergraphSdl);
      const executor = createStrictExecutor(graph, [stepwise], undefined, (fault) => faults.push(fault));
      const reference = graph.asReference(createApiSchema({ supergraph: parse(supergraphSdl) }));
      for (let i = 0; i < operationsPerGraph; i++) {
        const { query, variables } = generateOperation(reference, seed * 1_000 + i, {
          values: { u: [0, 7, 3], n: [0, 1, 2] },
        });
        const expected = await executeWithGraphqlJs({
          schema: reference,
          document: parse(query),
          variableValues: variables,
        });
        const answer = await executor.execute({ query, variables, context });
        const shown = `seed ${seed}: ${query}\n${JSON.stringify(variables)}`;
        expect(JSON.stringify(answer.data), shown).toBe(JSON.stringify(expected.data));
        expect(answer.errors, shown).toEqual(expected.errors);
        expect(faults, shown).toEqual([]);
      }
    }
    expect(composed).toBeGreaterThan(graphs / 2);
  },
  60_000 + graphs * 4_000,
);
