import { expect, test } from "vitest";
import { anonymous } from "@toolyard/service-kit";
import { createExecutor } from "./executor.ts";
import { createGraph } from "./fixtures/graph.ts";
import { requiringTypedInterfaceObjects } from "./fixtures/hard-supergraphs.ts";
import { createHivePlanner } from "./planning/hive-planner.ts";
import { createInProcessClient } from "./clients/in-process-client.ts";
import { createLocalPlanner } from "./fixtures/local-planner.ts";

test("what is lost through a field that nobody asked for has an error, at the object; what is not lost has none", async () => {
  const graph = createGraph(requiringTypedInterfaceObjects());
  const { supergraphSdl, schemas } = graph;
  const executor = createExecutor({
    supergraphSdl,
    planner: createLocalPlanner({ supergraphSdl, cores: [createHivePlanner({ supergraphSdl })] }),
    clients: [...schemas].map(([name, schema]) =>
      createInProcessClient({ subgraph: { name, schema, createContext: (request) => request } }),
    ),
  });
  const dog = graph.fixture.objects.find((object) => object.__typename === "Dog");
  if (!dog) throw new Error("The fixture has no dog.");
  // Dog.age is not null by its type, and is fetched because it could be a cat.
  graph.setFaults(new Map([[dog, new Map([["age", "error"]])]]));
  const run = (query: string) => executor.execute({ query, context: { caller: anonymous, requestId: "r" } });

  const lost = await run("{ patient { __typename ... on Cat { age } greeting } }");
  expect(lost.data).toEqual({ patient: { __typename: "Dog", greeting: null } });
  expect(lost.errors).toMatchObject([{ path: ["patient"], extensions: { code: "NOT_FOUND", service: "care" } }]);

  const whole = await run("{ patient { __typename ... on Cat { age } } }");
  expect(whole).toEqual({ data: { patient: { __typename: "Dog" } } });
});
