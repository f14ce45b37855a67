import fc from "fast-check";
import { execute as executeWithGraphqlJs, parse } from "graphql";
import { describe, expect, test } from "vitest";
import { anonymous, ToolyardError } from "@toolyard/service-kit";
import { createApolloPlanner } from "./planning/apollo-planner.ts";
import { createApiSchema } from "./schema/api-schema.ts";
import { createExecutor } from "./executor.ts";
import { createGraph } from "./fixtures/graph.ts";
import { generateOperation } from "./fixtures/operations.ts";
import { graphFixtures } from "./fixtures/supergraphs.ts";
import { createHivePlanner } from "./planning/hive-planner.ts";
import { createInProcessClient } from "./clients/in-process-client.ts";
import { createLocalPlanner } from "./fixtures/local-planner.ts";
import type { SubgraphClient, SubgraphResponse } from "./clients/subgraph-client.ts";

/** Operations for each supergraph. DIFFERENTIAL_RUNS=3000 after a change of the executor. */
const runsPerGraph = Number(process.env["DIFFERENTIAL_RUNS"] ?? 100);

/** What a subgraph may do instead of answering. */
const behaviours = ["well", "down", "broken", "errors only", "null", "nothing", "half", "garbage"] as const;
type Behaviour = (typeof behaviours)[number];

const told = { message: "told", extensions: { code: "RATE_LIMITED" } };

async function behave(behaviour: Behaviour, answer: () => Promise<SubgraphResponse>): Promise<SubgraphResponse> {
  switch (behaviour) {
    case "well":
      return answer();
    case "down":
      throw new ToolyardError("UPSTREAM_UNAVAILABLE", "It is down.");
    case "broken":
      throw new Error("A secret of the process.");
    case "errors only":
      return { errors: [told] };
    case "null":
      return { data: null, errors: [told] };
    case "nothing":
      return { data: {}, errors: [told] };
    case "half": {
      const { data, ...rest } = await answer();
      return { ...rest, data: data && cut(data), errors: [...(rest.errors ?? []), told] };
    }
    case "garbage":
      // Of another shape than its type says, as another program may send it.
      return {
        data: { _entities: 7, _e0: "x", _e1: [null, [], 5] },
        errors: [{ ...told, path: ["_entities", 99, "x"] }],
      };
  }
}

/** Every second item of every list is null, and every list of one item empty. */
function cut<Value>(value: Value): Value {
  const cutValue = (inner: unknown): unknown => {
    if (Array.isArray(inner))
      return inner.length === 1 ? [null] : inner.map((item, i) => (i % 2 ? null : cutValue(item)));
    if (typeof inner !== "object" || inner === null) return inner;
    return Object.fromEntries(Object.entries(inner).map(([key, item]) => [key, cutValue(item)]));
  };
  // The same shape, with nulls in places.
  return cutValue(value) as Value;
}

/** Whether an answer is the right one but for nulls. */
function isAtMost(answer: unknown, right: unknown): boolean {
  if (answer === null || answer === undefined) return true;
  if (Array.isArray(answer)) {
    return (
      Array.isArray(right) && answer.length === right.length && answer.every((item, i) => isAtMost(item, right[i]))
    );
  }
  if (typeof answer !== "object") return answer === right;
  if (typeof right !== "object" || right === null || Array.isArray(right)) return false;
  // Both are objects, read by key.
  const [mine, theirs] = [answer as Record<string, unknown>, right as Record<string, unknown>];
  return (
    Object.keys(mine).join() === Object.keys(theirs).join() &&
    Object.keys(mine).every((key) => isAtMost(mine[key], theirs[key]))
  );
}

describe.each(graphFixtures.map((create) => [create().name, create] as const))(
  "the supergraph of %s",
  (_name, create) => {
    test(
      "whatever subgraphs do, what is answered is right, and what is missing has an error",
      async () => {
        const graph = createGraph(create());
        // Toolyard's own graph has more for services: all of it is asked for here.
        const supergraphSdl = graph.supergraphSdl.replaceAll('@tag(name: "internal")', "");
        const { schemas } = graph;
        let behaviourOf: (subgraph: string) => Behaviour = () => "well";
        let misbehaved = 0;
        const executor = createExecutor({
          supergraphSdl,
          planner: createLocalPlanner({
            supergraphSdl,
            cores: [createHivePlanner({ supergraphSdl }), createApolloPlanner({ supergraphSdl })],
          }),
          overridePercentageOf: () => 50,
          clients: [...schemas].map(([name, schema]): SubgraphClient => {
            const client = createInProcessClient({ subgraph: { name, schema, createContext: (request) => request } });
            return {
              ...client,
              execute(request) {
                const behaviour = behaviourOf(name);
                if (behaviour !== "well") misbehaved++;
                return behave(behaviour, async () => JSON.parse(JSON.stringify(await client.execute(request))));
              },
            };
          }),
        });
        const reference = graph.asReference(createApiSchema({ supergraph: parse(supergraphSdl) }));
        const names = [...schemas.keys()];
        const picks = fc.array(fc.constantFrom(...behaviours), { minLength: names.length, maxLength: names.length });
        await fc.assert(
          fc.asyncProperty(fc.nat(1_000_000_000), picks, async (seed, picked) => {
            const { query, variables } = generateOperation(reference, seed, {
              values: {
                id: ["1", "u1", "p1", "c1", "m1", "h1", "a1"],
                sku: ["s1"],
                region: ["eu"],
                currency: ["EUR", "USD"],
              },
              withTypeConditions: graph.fixture.withTypeConditions,
            });
            const right = await executeWithGraphqlJs({
              schema: reference,
              document: parse(query),
              variableValues: variables,
            });
            behaviourOf = (subgraph) => picked[names.indexOf(subgraph)] ?? "well";
            misbehaved = 0;
            const answer = await executor.execute({ query, variables, context: { caller: anonymous, requestId: "r" } });
            const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value ?? null));
            const shown = `${query}\n${JSON.stringify(variables)}\n${names.join()} ${picked.join()}\n${JSON.stringify(answer)}\n${JSON.stringify(right)}`;
            expect(isAtMost(plain(answer.data), plain(right.data)), shown).toBe(true);
            const isWhole = JSON.stringify(plain(answer.data)) === JSON.stringify(plain(right.data));
            if (misbehaved === 0) expect(isWhole, shown).toBe(true);
            if (!isWhole) expect(answer.errors?.length ?? 0, shown).toBeGreaterThan(0);
            for (const { extensions, message } of answer.errors ?? []) {
              expect(["UPSTREAM_UNAVAILABLE", "RATE_LIMITED", "INTERNAL_SERVER_ERROR"], shown).toContain(
                extensions["code"],
              );
              expect(message, shown).not.toContain("secret of the process");
            }
          }),
          { numRuns: runsPerGraph },
        );
      },
      60_000 + runsPerGraph * 200,
    );
  },
);
