import { expect, test } from "vitest";
import { createMockRuntime, createMockWorld } from "./mock-runtime.ts";
import type { MockFault } from "./mock-runtime.ts";
import { runtimeContract } from "../runtime.contract.ts";
import type { Behaviour } from "../runtime.contract.ts";
import type { ReplicaSpec } from "../runtime.ts";

function specOf(name: string): ReplicaSpec {
  return {
    replicaId: `id-${name}`,
    userId: "user",
    deploymentId: "deployment",
    name,
    launch: { kind: "image", image: "image", args: [], env: {}, writablePaths: [], port: 80 },
    host: "127.0.0.1",
    port: 8100,
    token: "token",
    secrets: [],
    resources: { cpus: null, memoryMb: null, processes: null, diskMb: null },
  };
}

const FAULTS: Record<Behaviour, MockFault> = {
  SERVES: {},
  IGNORES_SIGTERM: { ignoresSigterm: true },
  EXITS_AT_ONCE: { exitAfterMs: 30, exitCode: 3, lastWords: "there is no configuration" },
  CANNOT_RUN: { failToStart: { code: "BAD_USER_INPUT", message: "There is no such image." } },
};

runtimeContract("mock", async () => {
  const world = createMockWorld();
  const behaviours = new Map<string, Behaviour>();
  const open = () =>
    createMockRuntime({
      world,
      tickIntervalMs: 10,
      faultOf: (spec) => FAULTS[behaviours.get(spec.name) ?? "SERVES"],
    });
  let runtime = open();
  return {
    runtime,
    async spec(name, behaviour) {
      behaviours.set(name, behaviour);
      return specOf(name);
    },
    successor: async () => (runtime = open()),
    killFromOutside: async (handle) => runtime.crash(handle.name),
    print: async (spec, text) => runtime.print(spec.name, text),
    remains: async (spec) => (world.replicas.has(spec.name) ? [spec.name] : []),
    close: async () => world.replicas.clear(),
  };
});

test("with a clock of its own nothing happens but by it", async () => {
  let now = 1_000;
  const runtime = createMockRuntime({
    now: () => now,
    tickIntervalMs: null,
    faultOf: () => ({ readyAfterMs: 50, ignoresSigterm: true, unkillableForMs: 500 }),
  });
  const handle = await runtime.start(specOf("slow"));
  expect(runtime.answers(handle)).toBe(false);
  now += 50;
  expect(runtime.answers(handle)).toBe(true);

  let stopped = false;
  const stop = runtime.stop(handle, 100).then(() => (stopped = true));
  now += 599;
  runtime.tick();
  await Promise.resolve();
  expect([stopped, runtime.running().length]).toEqual([false, 1]);
  now += 1;
  runtime.tick();
  await stop;
  expect(runtime.running()).toEqual([]);
});

test("a replica that is never ready is never ready", async () => {
  let now = 0;
  const faultOf = (): MockFault => ({ readyAfterMs: "never", exitAfterMs: 1_000 });
  const runtime = createMockRuntime({ now: () => now, tickIntervalMs: null, faultOf });
  const handle = await runtime.start(specOf("never"));
  now = 999;
  expect([runtime.answers(handle), (await runtime.inspect(handle)).alive]).toEqual([false, true]);
  now = 1_000;
  expect(await runtime.inspect(handle)).toMatchObject({ alive: false, exitCode: 1 });
});
