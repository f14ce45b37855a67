import { createMockRuntime } from "@toolyard/runtimes/mock/mock-runtime.ts";
import { createRemoteRuntime } from "@toolyard/runtimes/remote/remote-runtime.ts";
import { expect, test } from "vitest";
import { runtimeHealth } from "./runtimes.ts";

test("a runtime says of its health how replicas are kept apart, or that it cannot work now", async () => {
  const runtime = createMockRuntime({ tickIntervalMs: null });
  const { isolation } = runtime.capabilities;
  const common = { name: "runtime:mock", essential: false };
  expect(await runtimeHealth(runtime)).toMatchObject([{ ...common, status: "healthy", detail: isolation?.detail }]);
  const away = { ...runtime, problem: () => Promise.resolve("It does not answer.") };
  expect(await runtimeHealth(away)).toMatchObject([{ ...common, status: "degraded", detail: "It does not answer." }]);
  expect(await runtimeHealth(createRemoteRuntime())).toEqual([]);
});
