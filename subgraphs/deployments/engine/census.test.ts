import { createMockRuntime } from "@toolyard/runtimes/mock/mock-runtime.ts";
import type { Runtime, RuntimeKind } from "@toolyard/runtimes/runtime.ts";
import { createLogger, ToolyardError } from "@toolyard/service-kit";
import { expect, test } from "vitest";
import { newReplica } from "../deploying/new-replica.ts";
import { deploymentOf } from "../deployment-fixture.ts";
import type { ReplicaState } from "../deployment.ts";
import type { DeploymentRecord } from "../store/deployment-store.ts";
import { createCensus, type Census } from "./census.ts";

const handle = {
  runtime: "MOCK",
  name: "weather-1",
  identity: {},
  endpoint: { url: "http://127.0.0.1:1", owner: null },
};

function openCensus(runtimes: Runtime[], records: DeploymentRecord[] = []): Census {
  return createCensus({
    known: { refresh: () => Promise.resolve(records), isComplete: () => true },
    runtimes: new Map<RuntimeKind, Runtime>(runtimes.map((runtime) => [runtime.kind, runtime])),
    logger: createLogger({ name: "test", level: "silent" }),
    hostId: "host-1",
    graceMs: 0,
  });
}

test("what is known of processes that ended goes with their rows", async () => {
  const census = openCensus([createMockRuntime({ tickIntervalMs: null })]);
  census.noteGone(handle);
  expect(census.isGone(handle)).toBe(true);
  await census.take();
  expect(census.isGone(handle)).toBe(false);
});

test("a runtime that does not answer takes nothing to be gone, and does not hide what the others have", async () => {
  const there = createMockRuntime({ tickIntervalMs: null });
  const away = (): Promise<never> => Promise.reject(new ToolyardError("UPSTREAM_UNAVAILABLE", "It is away."));
  const lost: Runtime = { ...there, kind: "LOST", list: away, inspect: away };
  const place = { hostId: "host-1", address: "127.0.0.1", port: null };
  const records = [lost, there].map(({ kind: runtime }) => {
    const deployment = deploymentOf({ runtime });
    const state: ReplicaState = { phase: "READY", since: 0 };
    return {
      deployment,
      replicas: [{ ...newReplica({ deployment, ordinal: 0, place }), state, handle: { ...handle, runtime } }],
    };
  });
  const census = openCensus([lost, there], records);
  expect(await census.take()).toEqual(records);
  expect(census.isGone({ ...handle, runtime: "LOST" })).toBe(false);
  expect(census.isGone(handle)).toBe(true);
});
