import { createMockWorld } from "@toolyard/runtimes/mock/mock-runtime.ts";
import { expect, test } from "vitest";
import type { Deployment, Replica } from "../deployment.ts";
import type { DeploymentStore } from "../store/deployment-store.ts";
import { createControlPlane, createStore, insertDeployment, openStoreDatabase } from "./reconciler-fixture.ts";
import { reapFailed } from "./reap-failed.ts";
import { saveSettled } from "./settle.ts";

const signal = new AbortController().signal;

/** A deployment whose only replica ran, and failed for good at `at`. */
async function insertFailed(store: DeploymentStore, slug: string, at: number): Promise<Deployment> {
  const { id } = await insertDeployment(store, slug, 1, 9_000 + at);
  const endpoint = { url: "http://127.0.0.1:1", owner: null };
  return store.transaction(async (tx) => {
    const record = await tx.load(id);
    const [replica] = record?.replicas ?? [];
    if (!record || !replica) throw new Error("not inserted");
    const failed: Replica = {
      ...replica,
      port: null,
      state: { phase: "FAILED", reason: "It ended.", words: null },
      handle: { runtime: "MOCK", name: `${slug}-x-0-2`, identity: {}, endpoint },
      previousHandle: { runtime: "MOCK", name: `${slug}-x-0-1`, identity: {}, endpoint },
    };
    await tx.saveReplica(failed);
    return (await saveSettled(tx, { ...record, replicas: [failed] }, at)).deployment;
  });
}

test("what failed long ago is buried once and stays as it is; a restart of it begins anew", async () => {
  const database = await openStoreDatabase();
  const store = createStore(database);
  const plane = createControlPlane({ store, world: createMockWorld(), now: () => 1_000_000 });
  try {
    const old = [];
    for (let index = 0; index < 120; index += 1) old.push(await insertFailed(store, `old-${index}`, index));
    await insertFailed(store, "recent", 500);
    expect(old[0]).toMatchObject({ status: "FAILED", settledAt: 0 });

    const buried: string[] = [];
    const round = () =>
      reapFailed({
        hostId: "host-1",
        store,
        reap: async (_deployment, _replica, handle) => {
          buried.push(handle.name);
        },
        before: 400,
        signal,
      });
    await round();
    expect(new Set(buried).size).toBe(240);
    expect(buried).not.toContain("recent-x-0-2");
    await round();
    expect(buried).toHaveLength(240);

    await plane.reconciler.sweep();
    expect(plane.reconciler.known()).toEqual([]);
    const [first] = old;
    const record = await store.load(first?.id ?? "");
    expect(record?.deployment).toMatchObject({ status: "FAILED", reason: "It ended.", settledAt: 0 });

    await store.transaction(async (tx) => {
      if (!record) return;
      const restarted = { ...record.deployment, generation: 2 };
      await saveSettled(tx, { ...record, deployment: restarted }, 1_000);
    });
    for (let sweep = 0; sweep < 3; sweep += 1) await plane.reconciler.sweep();
    expect((await store.load(first?.id ?? ""))?.deployment).toMatchObject({ status: "RUNNING", settledAt: null });
    expect(plane.runtime.running()).toHaveLength(1);
  } finally {
    await plane.close();
    await database.close();
  }
});

test("health checks go by age, also those of what ended", async () => {
  const database = await openStoreDatabase();
  const store = createStore(database);
  let now = Date.now();
  const plane = createControlPlane({ store, world: createMockWorld(), now: () => now });
  try {
    const { id } = await insertDeployment(store, "weather", 1, 9_000);
    for (let sweep = 0; sweep < 4; sweep += 1, now += 11_000) await plane.reconciler.sweep();
    const [checks = []] = await store.healthChecksOf([id], 100);
    expect(checks.length).toBeGreaterThan(1);
    await store.trimHealthChecks(Date.now() - 60_000);
    expect(await store.healthChecksOf([id], 100)).toEqual([checks]);
    await store.trimHealthChecks(Date.now() + 60_000);
    expect(await store.healthChecksOf([id], 100)).toEqual([[]]);
  } finally {
    await plane.close();
    await database.close();
  }
});
