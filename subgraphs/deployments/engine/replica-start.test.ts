import { launchSchema } from "@toolyard/launch";
import { createMockWorld } from "@toolyard/runtimes/mock/mock-runtime.ts";
import { eventually } from "@toolyard/testing";
import { ToolyardError } from "@toolyard/service-kit";
import { expect, test } from "vitest";
import { createControlPlane, createStore, insertDeployment, openStoreDatabase } from "./reconciler-fixture.ts";

test("what a start waits for is told while it lasts, and takes nothing of the server's time to answer", async () => {
  const database = await openStoreDatabase();
  const store = createStore(database);
  let clock = 1_000_000;
  const pulled = Promise.withResolvers<void>();
  const plane = createControlPlane({
    store,
    world: createMockWorld(),
    now: () => clock,
    around: (runtime) => ({
      ...runtime,
      async start(spec, signal, progress) {
        progress?.("Its image is being pulled.");
        await pulled.promise;
        // Longer than the server has to answer.
        clock += 600_000;
        plane.sick.add(spec.name);
        return runtime.start(spec, signal);
      },
    }),
  });
  try {
    const { id } = await insertDeployment(store, "slow", 1, 9_000);
    const look = async () => (await store.load(id))?.replicas[0]?.state;
    // It lasts as long as the work that it begins.
    const sweep = plane.reconciler.sweep();
    const waitsFor = "Its image is being pulled.";
    await expect.poll(look).toMatchObject({ phase: "STARTING", since: 1_000_000, waitsFor });
    expect((await store.load(id))?.deployment.reason).toBe(waitsFor);
    pulled.resolve();
    await expect.poll(look).toEqual({ phase: "STARTING", since: 1_600_000 });
    plane.sick.clear();
    await eventually("it answers", async () => (await look())?.phase === "READY");
    await sweep;
  } finally {
    pulled.resolve();
    await plane.close();
    await database.close();
  }
});

test("what ended the run before stays told while the next one is waited for, and until it shows something", async () => {
  const database = await openStoreDatabase();
  const store = createStore(database);
  let clock = 1_000_000;
  let starts = 0;
  let asked = 0;
  const made = Promise.withResolvers<void>();
  const plane = createControlPlane({
    store,
    world: createMockWorld(),
    now: () => clock,
    around: (runtime) => ({
      ...runtime,
      async start(spec, signal, progress) {
        starts += 1;
        if (starts === 1) throw new ToolyardError("UPSTREAM_UNAVAILABLE", "It ran out of memory.");
        progress?.("The node gets its image.");
        await made.promise;
        plane.sick.add(spec.name);
        return runtime.start(spec, signal);
      },
      answers(handle) {
        asked += 1;
        return runtime.answers(handle);
      },
    }),
  });
  try {
    const { id } = await insertDeployment(store, "greedy", 1, 9_000);
    const look = async () => (await store.load(id))?.replicas[0]?.state;
    const reason = async () => (await store.load(id))?.deployment.reason;
    await plane.reconciler.sweep();
    await expect.poll(look).toMatchObject({ phase: "BACKOFF", reason: "It ran out of memory." });
    clock += 600_000;
    const sweep = plane.reconciler.sweep();
    const again = "It is started again (try 2 of 10). It ran out of memory.";
    await expect.poll(reason).toBe(`${again} The node gets its image.`);
    made.resolve();
    await expect.poll(reason).toBe(again);
    // Long enough for news of its start, which there are none of.
    clock += 5_000;
    const before = asked;
    await eventually("what it shows is seen", () => asked >= before + 3);
    expect(await reason()).toBe(again);
    plane.sick.clear();
    await eventually("it answers", async () => (await look())?.phase === "READY");
    expect(await reason()).toBeNull();
    await sweep;
  } finally {
    made.resolve();
    await plane.close();
    await database.close();
  }
});

test("a replica with an egress list is not started on a runtime that no longer holds it, and says why", async () => {
  const database = await openStoreDatabase();
  const store = createStore(database);
  const plane = createControlPlane({
    store,
    world: createMockWorld(),
    now: () => 0,
    around: (runtime) => ({ ...runtime, capabilities: { ...runtime.capabilities, egress: false } }),
  });
  try {
    const launch = launchSchema.parse({ kind: "stdio", command: "server", options: { egress: { allow: [] } } });
    const { id } = await insertDeployment(store, "held", 1, 9_000, undefined, { launch });
    await plane.reconciler.sweep();
    const { deployment, replicas } = (await store.load(id)) ?? {};
    expect(deployment?.status).toBe("FAILED");
    expect(replicas?.[0]?.state).toMatchObject({
      phase: "FAILED",
      reason: expect.stringMatching(/MOCK cannot hold a server to the hosts of its launch's egress list/),
    });
    expect(plane.runtime.running()).toEqual([]);
  } finally {
    await plane.close();
    await database.close();
  }
});
