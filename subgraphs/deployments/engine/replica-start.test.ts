import { launchSchema } from "@toolyard/launch";
import { createMockWorld } from "@toolyard/runtimes/mock/mock-runtime.ts";
import { eventually } from "@toolyard/testing";
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
    const reason = "Its image is being pulled.";
    await expect.poll(look).toMatchObject({ phase: "STARTING", since: 1_000_000, reason });
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
