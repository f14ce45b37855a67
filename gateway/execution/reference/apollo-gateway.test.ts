import { ApolloServer } from "@apollo/server";
import { afterEach, expect, test } from "vitest";
import { anonymous } from "@toolyard/service-kit";
import { createApolloGateway } from "./apollo-gateway.ts";
import { createExecutor } from "../executor.ts";
import { composeFixture } from "../fixtures/compose.ts";
import { shop } from "../fixtures/shop.ts";
import { createHivePlanner } from "../planning/hive-planner.ts";
import { createInProcessClient } from "../clients/in-process-client.ts";
import { createLocalPlanner } from "../fixtures/local-planner.ts";
import type { OperationContext } from "../clients/subgraph-client.ts";

let server: ApolloServer<OperationContext> | undefined;
afterEach(async () => {
  await server?.stop();
  server = undefined;
});

async function ask(query: string, variables: Record<string, unknown> = {}): Promise<unknown> {
  const { supergraphSdl, schemas } = composeFixture(shop());
  const executor = createExecutor({
    supergraphSdl,
    planner: createLocalPlanner({ supergraphSdl, cores: [createHivePlanner({ supergraphSdl })] }),
    clients: [...schemas].map(([name, schema]) =>
      createInProcessClient({ subgraph: { name, schema, createContext: (request) => request } }),
    ),
  });
  server ??= new ApolloServer<OperationContext>({
    gateway: createApolloGateway<OperationContext>({ executor, contextOf: (context) => context }),
    introspection: true,
    includeStacktraceInErrorResponses: false,
  });
  const contextValue = { caller: anonymous, requestId: "r1" };
  const { body } = await server.executeOperation({ query, variables }, { contextValue });
  if (body.kind !== "single") throw new Error("One result was expected.");
  return JSON.parse(JSON.stringify(body.singleResult));
}

test("Apollo Server answers from the whole supergraph", async () => {
  const query = `query ($upc: ID!) { product(upc: $upc) { reviews(first: 1) { author { name } } } }`;
  expect(await ask(query, { upc: "1" })).toEqual({ data: { product: { reviews: [{ author: { name: "Ada" } }] } } });
});

test("Apollo Server shows errors with their path and code, and the data that is there", async () => {
  expect(await ask(`{ me { name } broken }`)).toMatchObject({
    data: { me: { name: "Ada" }, broken: null },
    errors: [{ path: ["broken"], extensions: { code: "INTERNAL_SERVER_ERROR", service: "products" } }],
  });
});

test("Apollo Server introspects the public schema", async () => {
  const result = await ask(`{ __schema { types { name } } }`);
  expect(JSON.stringify(result)).toContain("ProductChange");
  expect(JSON.stringify(result)).not.toMatch(/Secret|join__/);
});

test("wrong variables are the client's fault", async () => {
  expect(await ask(`query ($upc: ID!) { product(upc: $upc) { name } }`)).toMatchObject({
    errors: [{ extensions: { code: "BAD_USER_INPUT" } }],
  });
});
