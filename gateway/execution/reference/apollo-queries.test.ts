import { parse } from "graphql";
import { afterEach, expect, test } from "vitest";
import { anonymous, createUserCaller } from "@toolyard/service-kit";
import { differencesOf } from "./answer-differences.ts";
import { createExecutor, type Executor, type ExecutorOptions } from "../executor.ts";
import { composeFixture, type Composed } from "../fixtures/compose.ts";
import { createGraph } from "../fixtures/graph.ts";
import { generateOperation } from "../fixtures/operations.ts";
import { shop } from "../fixtures/shop.ts";
import { toolyardGraph } from "../fixtures/toolyard-graph.ts";
import { createApolloPlanner } from "../planning/apollo-planner.ts";
import { createHivePlanner } from "../planning/hive-planner.ts";
import { createInProcessClient } from "../clients/in-process-client.ts";
import { createLocalPlanner } from "../fixtures/local-planner.ts";
import type { SubgraphRequest } from "../clients/subgraph-client.ts";

/** Of Toolyard's graph, by each audience. DIFFERENTIAL_RUNS=5000 after a change of the executor. */
const runs = Number(process.env["DIFFERENTIAL_RUNS"] ?? 60);
const context = { caller: anonymous, requestId: "r1" };
const service = { ...anonymous, kind: "service" as const };

const executors: Executor[] = [];
afterEach(async () => {
  for (const executor of executors.splice(0)) await executor.close();
});

function createBoth(
  { supergraphSdl, schemas }: Composed,
  options: Partial<ExecutorOptions> & { onRequest?: (request: SubgraphRequest) => void } = {},
): Executor {
  const { onRequest, ...rest } = options;
  const cores = [createHivePlanner({ supergraphSdl }), createApolloPlanner({ supergraphSdl })];
  const executor = createExecutor({
    supergraphSdl,
    engines: ["apollo", "toolyard"],
    planner: createLocalPlanner({ supergraphSdl, cores }),
    clients: [...schemas].map(([name, schema]) => {
      const client = createInProcessClient({ subgraph: { name, schema, createContext: (request) => request } });
      return {
        ...client,
        execute(request) {
          onRequest?.(request);
          return client.execute(request);
        },
      };
    }),
    ...rest,
  });
  executors.push(executor);
  return executor;
}

test.each(["public", "internal"] as const)(
  "on Toolyard's own graph, the %s one, both engines answer every generated operation alike",
  async (audience) => {
    const executor = createBoth(createGraph(toolyardGraph()));
    const schema = audience === "public" ? executor.apiSchema : executor.internalApiSchema;
    let compared = 0;
    for (let seed = 0; compared < runs; seed++) {
      const { query, variables } = generateOperation(schema, seed, { isTame: true });
      const request = { query, variables, context: audience === "public" ? context : { ...context, caller: service } };
      if (!executor.isForApollo(request)) continue;
      const ours = await executor.execute({ ...request, engine: "toolyard" });
      const theirs = await executor.execute({ ...request, engine: "apollo" });
      const shown = `${query}\n${JSON.stringify(variables)}\n${JSON.stringify([ours.errors, theirs.errors])}`;
      expect(differencesOf(ours, theirs, parse(query)), shown).toBeNull();
      compared++;
    }
  },
  60_000 + runs * 200,
);

test("errors have their path, code, service and request, as the executor's own have", async () => {
  const executor = createBoth(composeFixture(shop()));
  const request = { query: "{ me { name } broken products { averageLength } }", context };
  const [theirs, ours] = [await executor.execute(request), await executor.execute({ ...request, engine: "toolyard" })];
  const told = ({ errors = [] }: typeof ours) =>
    errors.map(({ path, extensions }) => JSON.stringify([path, extensions["code"], extensions["service"]])).sort();
  expect(JSON.stringify(theirs.data)).toBe(JSON.stringify(ours.data));
  expect(told(theirs)).toContain('[["broken"],"INTERNAL_SERVER_ERROR","products"]');
  expect(told(theirs)).toEqual(told(ours));
  expect(theirs.errors?.[0]?.extensions["requestId"]).toBe("r1");
  expect(theirs.errors?.[0]?.extensions["serviceName"]).toBeUndefined();
});

test("a null that is none, which the stock gateway keeps to itself, is an error", async () => {
  const typeDefs = "type Query { thing: Thing } type Thing { name: String! }";
  const composed = composeFixture({ a: { typeDefs, resolvers: { Query: { thing: () => ({}) } } } });
  const executor = createBoth(composed, {
    clients: [
      {
        name: "a",
        execute: () => Promise.resolve({ data: { thing: { name: null } } }),
        subscribe: () => ({ [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => undefined) }) }),
        close: () => Promise.resolve(),
      },
    ],
  });
  const { data, errors } = await executor.execute({ query: "{ thing { name } }", context });
  expect(JSON.parse(JSON.stringify(data))).toEqual({ thing: null });
  expect(errors).toMatchObject([{ path: ["thing", "name"], extensions: { code: "INTERNAL_SERVER_ERROR" } }]);
});

test("wrong variables are the client's fault, and nobody is asked", async () => {
  let asked = 0;
  const executor = createBoth(composeFixture(shop()), { onRequest: () => asked++ });
  const query = "query ($upc: ID!) { product(upc: $upc) { name } }";
  const { errors } = await executor.execute({ query, variables: {}, context });
  expect(errors).toMatchObject([{ extensions: { code: "BAD_USER_INPUT" } }]);
  expect(asked).toBe(0);
});

test("subgraphs are told for whom, and what may change something", async () => {
  const asked: SubgraphRequest[] = [];
  const executor = createBoth(composeFixture(shop()), { onRequest: (request) => asked.push(request) });
  const caller = createUserCaller("u1", "VIEWER");
  const query = 'mutation { rename(upc: "1", name: "Desk") { name reviews { body } } }';
  const { data } = await executor.execute({ query, context: { ...context, caller } });
  expect(data).toMatchObject({ rename: { name: "Desk", reviews: [{ body: "Love it!" }, {}] } });
  expect(asked.map(({ isMutation }) => isMutation)).toEqual([true, false]);
  for (const request of asked) expect(request.context.caller).toBe(caller);
});

test("an operation ends at its deadline", async () => {
  const composed = composeFixture(shop());
  const executor = createBoth(composed, {
    timeoutMs: 1,
    clients: [...composed.schemas.keys()].map((name) => ({
      name,
      execute: () => new Promise(() => undefined),
      subscribe: () => ({ [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => undefined) }) }),
      close: () => Promise.resolve(),
    })),
  });
  const { errors } = await executor.execute({ query: "{ me { name } }", context });
  expect(errors).toMatchObject([{ extensions: { code: "TIMEOUT", service: "users" } }]);
});

const animals = {
  a: {
    typeDefs: `type Query { pet: Pet } interface Pet { name: String }
      type Cat implements Pet { name: String } type Ghost implements Pet @tag(name: "internal") { name: String }`,
    resolvers: { Query: { pet: () => ({ __typename: "Ghost", name: "Casper" }) } },
  },
};

test("what is for services only is told to services only", async () => {
  const executor = createBoth(composeFixture(animals));
  const query = "{ pet { __typename name } }";
  const { data, errors } = await executor.execute({ query, context });
  expect(JSON.parse(JSON.stringify(data))).toEqual({ pet: null });
  expect(JSON.stringify(errors)).not.toMatch(/Ghost|Casper/);
  const told = await executor.execute({ query, context: { ...context, caller: service } });
  expect(told.data).toMatchObject({ pet: { __typename: "Ghost", name: "Casper" } });
});

test("what the caller may not have is withheld, though the stock gateway, which knows no authorization, is asked", async () => {
  const executor = createBoth(
    composeFixture({
      a: {
        typeDefs: "type Query { open: String closed: String @authenticated }",
        resolvers: { Query: { open: () => "open", closed: () => "SECRET" } },
      },
    }),
  );
  const request = { query: "{ open closed }", context };
  expect(executor.isForApollo(request)).toBe(false);
  const { data, errors } = await executor.execute({ ...request, engine: "apollo" });
  expect(data).toEqual({ open: "open", closed: null });
  expect(errors).toMatchObject([{ extensions: { code: "UNAUTHORIZED_FIELD_OR_TYPE" } }]);
  // It says so itself, so that a gateway with EXECUTOR=apollo does not start.
  await expect(executor.ready).rejects.toThrow(/authenticated/);
});

test("a supergraph that the stock gateway does not take is said, to who needs it", async () => {
  const { supergraphSdl, schemas } = composeFixture({
    a: { typeDefs: 'type Query { pet: String @tag(name: "internal") }', resolvers: {} },
  });
  const needed = createBoth({ supergraphSdl, schemas });
  await expect(needed.ready).rejects.toThrow(/Query/);
  const warned: unknown[] = [];
  const log = { error: () => undefined, warn: (...line: unknown[]) => void warned.push(line.at(-1)) };
  const optional = createBoth({ supergraphSdl, schemas }, { engines: ["toolyard", "apollo"], log });
  await optional.ready;
  while (warned.length === 0) await new Promise((resolve) => setImmediate(resolve));
  expect(warned).toEqual([expect.stringContaining("@apollo/gateway does not take this supergraph")]);
  expect(optional.isForApollo({ query: "{ pet }", context: { ...context, caller: service } })).toBe(false);
});
