import { createMockRuntime } from "@toolyard/runtimes/mock/mock-runtime.ts";
import type { Runtime, RuntimeKind } from "@toolyard/runtimes/runtime.ts";
import { createLogger } from "@toolyard/service-kit";
import { expect, test } from "vitest";
import { createCensus } from "./census.ts";

test("what is known of processes that ended goes with their rows", async () => {
  const runtime = createMockRuntime({ tickIntervalMs: null });
  const census = createCensus({
    known: { refresh: () => Promise.resolve([]), isComplete: () => true },
    runtimes: new Map<RuntimeKind, Runtime>([[runtime.kind, runtime]]),
    logger: createLogger({ name: "test", level: "silent" }),
    hostId: "host-1",
    graceMs: 0,
  });
  const handle = {
    runtime: runtime.kind,
    name: "weather-1",
    identity: {},
    endpoint: { url: "http://127.0.0.1:1", owner: null },
  };
  census.noteGone(handle);
  expect(census.isGone(handle)).toBe(true);
  await census.take();
  expect(census.isGone(handle)).toBe(false);
});
