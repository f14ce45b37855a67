import { createUserCaller, newId, nextTimeSlice } from "@toolyard/service-kit";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createExecutor } from "./executor.ts";
import { composeFixture } from "./fixtures/compose.ts";
import { createLocalPlanner } from "./fixtures/local-planner.ts";
import { createInProcessClient } from "./clients/in-process-client.ts";
import { createHivePlanner } from "./planning/hive-planner.ts";

/** As far as the clock tells, which moves by this only. */
let computedMs = 0;
function compute(): void {
  computedMs += 25;
}
beforeEach(() => void vi.spyOn(performance, "now").mockImplementation(() => computedMs));
afterEach(() => void vi.restoreAllMocks());

test("variables that take long to check, and an answer that takes long, leave turns of the event loop to others", async () => {
  let turn = 0;
  let isCounting = true;
  const count = () => {
    turn += 1;
    if (isCounting) setImmediate(count);
  };
  const turns: Record<string, number> = {};
  const composed = composeFixture({
    only: {
      typeDefs: "type Query { echo(values: [Int!]!): Int }",
      resolvers: {
        Query: {
          echo() {
            turns["resolver"] = turn;
            compute();
            return 1;
          },
        },
      },
    },
  });
  const { supergraphSdl, schemas } = composed;
  const executor = createExecutor({
    supergraphSdl,
    planner: createLocalPlanner({ supergraphSdl, cores: [createHivePlanner({ supergraphSdl })] }),
    clients: [...schemas].map(([name, schema]) =>
      createInProcessClient({ subgraph: { name, schema, createContext: () => ({}) } }),
    ),
  });
  // Being checked, its first value takes long.
  const values = [1];
  const slow = new Proxy(values, {
    get(target, key, receiver) {
      if (key === "0" && turns["variables"] === undefined) {
        turns["variables"] = turn;
        compute();
      }
      return Reflect.get(target, key, receiver) as unknown;
    },
  });
  count();
  const request = (variables: Record<string, unknown>) => ({
    query: "query ($values: [Int!]!) { echo(values: $values) }",
    operationName: null,
    variables,
    context: { caller: createUserCaller("u1", "VIEWER"), requestId: newId() },
  });
  await executor.execute(request({ values }));
  turns["resolver"] = 0;
  void nextTimeSlice();
  expect(await executor.execute(request({ values: slow }))).toEqual({ data: { echo: 1 } });
  turns["answered"] = turn;
  isCounting = false;
  expect(turns["resolver"]).toBeGreaterThan(turns["variables"] ?? Infinity);
  expect(turns["answered"]).toBeGreaterThan(turns["resolver"] ?? Infinity);
});
