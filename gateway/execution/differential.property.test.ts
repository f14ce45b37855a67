import { setImmediate as yieldToEventLoop } from "node:timers/promises";
import fc from "fast-check";
import { ApolloGateway } from "@apollo/gateway";
import {
  execute as executeWithGraphqlJs,
  getOperationAST,
  graphql,
  parse,
  type ExecutionResult,
  type GraphQLSchema,
} from "graphql";
import { describe, expect, test } from "vitest";
import { anonymous } from "@toolyard/service-kit";
import { errorPlaces } from "./reference/answer-differences.ts";
import { createExecutor, type Executor } from "./executor.ts";
import { createGraph, type DataObject, type Fault, type Graph } from "./fixtures/graph.ts";
import { createRandom, generateOperation, type GeneratedOperation } from "./fixtures/operations.ts";
import { graphFixtures } from "./fixtures/supergraphs.ts";
import { createApolloPlanner } from "./planning/apollo-planner.ts";
import { createHivePlanner } from "./planning/hive-planner.ts";
import { createInProcessClient } from "./clients/in-process-client.ts";
import { createLocalPlanner } from "./fixtures/local-planner.ts";
import type { PlannerCore } from "./planning/query-planner.ts";
import type { SubgraphClient } from "./clients/subgraph-client.ts";

/** Operations for each supergraph. DIFFERENTIAL_RUNS=3000 after a change of the executor. */
const runsPerGraph = Number(process.env["DIFFERENTIAL_RUNS"] ?? 100);
/** How many of them the stock gateway is asked as well: it takes most of the time. */
const stockRunsPerGraph = 40;

const argumentValues = {
  id: ["1", "u1", "p1", "c1", "m1", "h1", "nothing"],
  sku: ["s1"],
  region: ["eu", "us"],
  currency: ["EUR", "USD"],
};

interface Subject {
  graph: Graph;
  ours: Executor;
  /** The same, by the planner that is asked when the native one does not answer. */
  fallback: Executor;
  /** By both, as when they run in processes of their own. */
  chosen: Executor;
  /** By neither. */
  stepwise: Executor;
  reference: GraphQLSchema;
  stock: ApolloGateway;
  askStock(operation: GeneratedOperation): Promise<ExecutionResult>;
}

async function createSubject(graph: Graph): Promise<Subject> {
  // Toolyard's own graph has more for services: all of it is asked for here.
  const supergraphSdl = graph.supergraphSdl.replaceAll('@tag(name: "internal")', "");
  const { schemas } = graph;
  const random = createRandom(7);
  const executorWith = (...cores: PlannerCore[]) =>
    createExecutor({
      supergraphSdl,
      planner: createLocalPlanner({ supergraphSdl, cores }),
      overrideLabelsOf: () => (random() < 0.5 ? ["new-dates"] : []),
      overridePercentageOf: () => random() * 100,
      clients: [...schemas].map(([name, schema]) => {
        const client = createInProcessClient({ subgraph: { name, schema, createContext: (request) => request } });
        return {
          ...client,
          // In no order that can be relied on.
          async execute(request) {
            for (let turns = Math.floor(random() * 3); turns > 0; turns--) await yieldToEventLoop();
            return client.execute(request);
          },
        } satisfies SubgraphClient;
      }),
    });
  const ours = executorWith(createHivePlanner({ supergraphSdl }));
  const fallback = executorWith(createApolloPlanner({ supergraphSdl }));
  const chosen = executorWith(createHivePlanner({ supergraphSdl }), createApolloPlanner({ supergraphSdl }));
  const stepwise = executorWith();
  const stock = new ApolloGateway({
    supergraphSdl,
    logger: { debug() {}, info() {}, warn() {}, error() {} },
    buildService: ({ name }) => ({
      async process({ request }) {
        const schema = schemas.get(name);
        if (!schema) throw new Error(`There is no subgraph ${name}.`);
        const result = await graphql({ schema, source: request.query ?? "", variableValues: request.variables ?? {} });
        // As it would come over HTTP.
        return JSON.parse(JSON.stringify(result)) as never;
      },
    }),
  });
  const { schema, executor } = await stock.load();
  return {
    graph,
    ours,
    fallback,
    chosen,
    stepwise,
    stock,
    // The stock gateway's API schema: the judge must not rest on our own.
    reference: graph.asReference(schema),
    async askStock({ query, variables }) {
      const document = parse(query);
      const request = { query, variables };
      const operation = getOperationAST(document);
      return executor({
        document,
        request,
        operation,
        schema,
        source: query,
        queryHash: query,
        operationName: null,
        context: {},
        metrics: {},
        cache: {},
      } as never);
    },
  };
}

function plainData(result: ExecutionResult): unknown {
  return JSON.parse(JSON.stringify(result.data ?? null));
}

/** @param isOneKind whether all faults are alike; else errors of either kind may be told of a null that both made */
function expectSameErrors(answer: ExecutionResult, expected: ExecutionResult, isOneKind: boolean, shown: string): void {
  const [mine, theirs] = [errorPlaces(answer), errorPlaces(expected)];
  expect([...mine.keys()].sort(), shown).toEqual([...theirs.keys()].sort());
  if (!isOneKind) return;
  for (const [place, codes] of mine)
    expect(
      [...codes].some((code) => theirs.get(place)?.has(code)),
      `${place}: ${[...codes].join()}: ${shown}`,
    ).toBe(true);
}

function faultsOf(graph: Graph, picks: readonly [number, number, Fault][]): Map<DataObject, Map<string, Fault>> {
  const { objects, faultless = [] } = graph.fixture;
  const faults = new Map<DataObject, Map<string, Fault>>();
  for (const [objectIndex, fieldIndex, fault] of picks) {
    const object = objects[objectIndex % objects.length];
    if (!object) continue;
    const fields = Object.keys(object).filter(
      (field) => field !== "__typename" && !faultless.includes(`${object.__typename}.${field}`),
    );
    const field = fields[fieldIndex % fields.length];
    if (field !== undefined) faults.set(object, (faults.get(object) ?? new Map<string, Fault>()).set(field, fault));
  }
  return faults;
}

describe.each(graphFixtures.map((create) => [create().name, create] as const))(
  "the supergraph of %s",
  (_name, create) => {
    test(
      "every operation is answered as graphql-js answers it over the merged data",
      async () => {
        const graph = createGraph(create());
        const subject = await createSubject(graph);
        const stockDiffers: string[] = [];
        let stockRuns = 0;
        const fault = fc.tuple(fc.nat(50), fc.nat(50), fc.constantFrom<Fault>("null", "error"));
        const faultSets = fc.oneof(
          { weight: 2, arbitrary: fc.constant([]) },
          { weight: 1, arbitrary: fc.array(fault, { minLength: 1, maxLength: 3 }) },
        );
        await fc.assert(
          fc.asyncProperty(fc.nat(1_000_000_000), faultSets, async (seed, picks) => {
            const operation = generateOperation(subject.reference, seed, {
              values: argumentValues,
              withTypeConditions: graph.fixture.withTypeConditions,
            });
            graph.setFaults(faultsOf(graph, picks));
            const { query, variables } = operation;
            const expected = await executeWithGraphqlJs({
              schema: subject.reference,
              document: parse(query),
              variableValues: variables,
            });
            const context = { caller: anonymous, requestId: "r" };
            for (const [planner, executor] of Object.entries({
              chosen: subject.chosen,
              native: subject.ours,
              fallback: subject.fallback,
              stepwise: subject.stepwise,
            })) {
              const answer = await executor.execute({ query, variables, context });
              const shown = `${planner}: ${query}\n${JSON.stringify(variables)}\n${JSON.stringify(picks)}\n${JSON.stringify(answer.errors)}\n${JSON.stringify(expected.errors)}`;
              expect(plainData(answer), shown).toEqual(plainData(expected));
              expect(JSON.stringify(plainData(answer)), shown).toBe(JSON.stringify(plainData(expected)));
              expectSameErrors(answer, expected, new Set(picks.map(([, , fault]) => fault)).size < 2, shown);
            }
            if (picks.length > 0 || stockRuns >= stockRunsPerGraph) return;
            stockRuns++;
            // It throws at some of them.
            const theirs = await subject.askStock(operation).catch((): ExecutionResult => ({}));
            if (JSON.stringify(plainData(theirs)) !== JSON.stringify(plainData(expected))) stockDiffers.push(query);
          }),
          { numRuns: runsPerGraph },
        );
        await subject.stock.stop();
        // It has known faults; but a judge that it mostly contradicts would be no judge.
        if (graph.fixture.stockIsWrongBecause === undefined)
          expect(stockDiffers.length).toBeLessThan(stockRunsPerGraph / 4);
      },
      60_000 + runsPerGraph * 500,
    );
  },
);
