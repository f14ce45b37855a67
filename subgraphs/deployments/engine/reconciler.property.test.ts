import { createMockRuntime, createMockWorld } from "@toolyard/runtimes/mock/mock-runtime.ts";
import type { Runtime } from "@toolyard/runtimes/runtime.ts";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { Deployment } from "../deployment.ts";
import type { DeploymentStore } from "../store/deployment-store.ts";
import { createControlPlane, createStore, insertDeployment, openStoreDatabase } from "./reconciler-fixture.ts";
import { saveSettled } from "./settle.ts";

/** Counts down the steps of a control plane: once they are used up it is dead, and nothing that it asks for happens. */
function createFuse(steps: number) {
  let left = steps;
  const step = (): void => {
    if (left <= 0) throw new Error("killed");
    left -= 1;
  };
  return {
    store: (store: DeploymentStore): DeploymentStore => ({
      ...store,
      transaction: (work) => {
        step();
        return store.transaction(work);
      },
    }),
    runtime: <Inner extends Runtime>(runtime: Inner): Inner => ({
      ...runtime,
      start(spec, signal) {
        step();
        return runtime.start(spec, signal);
      },
      stop(handle, graceMs) {
        step();
        return runtime.stop(handle, graceMs);
      },
    }),
  };
}

const anyChange = fc.oneof(
  fc.record({ type: fc.constant("scale" as const), replicas: fc.integer({ min: 0, max: 3 }) }),
  fc.constant({ type: "stop" as const }),
  fc.constant({ type: "restart" as const }),
  fc.constant({ type: "crash" as const }),
);

test("killed at any point of its work, the next control plane brings rows and processes together, with unique ports", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 3 }),
      fc.array(fc.record({ change: anyChange, steps: fc.integer({ min: 0, max: 12 }) }), {
        minLength: 1,
        maxLength: 3,
      }),
      async (replicas, lives) => {
        const database = await openStoreDatabase();
        try {
          const store = createStore(database);
          const world = createMockWorld();
          let ahead = 0;
          const { id } = await insertDeployment(store, "weather", replicas, 9_000);
          const { id: otherId } = await insertDeployment(store, "other", 1, 9_010);

          /** A control plane with so many steps to live: sweeps a few times and is gone, without a goodbye. */
          const live = async (steps: number, sweeps: number): Promise<void> => {
            const fuse = createFuse(steps);
            const { reconciler, close } = createControlPlane({
              store: fuse.store(store),
              world,
              around: fuse.runtime,
              // Back-offs pass from one sweep to the next.
              now: () => Date.now() + ahead,
            });
            for (let sweep = 0; sweep < sweeps; sweep += 1) {
              ahead += 70_000;
              await reconciler.sweep();
            }
            await close();
          };

          for (const { change, steps } of lives) {
            await live(steps, 2);
            await apply(store, id, change, world);
          }
          await live(Infinity, 12);

          for (const deploymentId of [id, otherId]) {
            const record = await store.load(deploymentId);
            if (!record) throw new Error("the deployment is gone");
            const { deployment, replicas: rows } = record;
            const stopped = deployment.desired === "STOP";
            expect(deployment.status).toBe(stopped ? "STOPPED" : "RUNNING");
            expect(deployment.stoppedAt !== null).toBe(stopped);
            expect(rows).toHaveLength(stopped ? 0 : deployment.desiredReplicas);
            expect(rows.every(({ state }) => state.phase === "READY")).toBe(true);
          }
          const rows = await store.replicasOf([id, otherId]);
          const runtime = createMockRuntime({ world, tickIntervalMs: null });
          const running = runtime.running();
          expect(running.map(({ replicaId }) => replicaId).toSorted()).toEqual(rows.map((row) => row.id).toSorted());
          for (const row of rows) expect(running.find(({ replicaId }) => replicaId === row.id)?.port).toBe(row.port);
          expect(new Set(running.map(({ port }) => port)).size).toBe(running.length);
          expect(new Set(running.map(({ token }) => token)).size).toBe(running.length);
        } finally {
          await database.close();
        }
      },
    ),
    { numRuns: 100 },
  );
});

test("what was asked between a sweep's reading and its deciding is what is done: no process goes that is wanted by then", async () => {
  const count = fc.integer({ min: 0, max: 3 });
  await fc.assert(
    fc.asyncProperty(count, count, count, async (before, known, after) => {
      const database = await openStoreDatabase();
      try {
        const store = createStore(database);
        const world = createMockWorld();
        let now = 0;
        let meanwhile = async (): Promise<void> => {};
        const overtaken: DeploymentStore = {
          ...store,
          async loadMany(ids) {
            const records = await store.loadMany(ids);
            await meanwhile();
            return records;
          },
        };
        const { id } = await insertDeployment(store, "weather", before, 9_000);
        const { reconciler, runtime, close } = createControlPlane({ store: overtaken, world, now: () => now });
        const settle = async (): Promise<string[]> => {
          for (let sweep = 0; sweep < 6; sweep += 1) {
            now += 2_000;
            await reconciler.sweep();
          }
          return runtime.running().map(({ name }) => name);
        };
        const first = await settle();
        await apply(store, id, { type: "scale", replicas: known }, world);
        meanwhile = async () => {
          meanwhile = async () => {};
          await apply(store, id, { type: "scale", replicas: after }, world);
        };
        now += 2_000;
        await reconciler.sweep();
        const last = await settle();
        await close();
        expect(first).toHaveLength(before);
        expect(last).toHaveLength(after);
        const survivors = last.filter((name) => first.includes(name));
        expect(survivors).toHaveLength(Math.min(before, after));
      } finally {
        await database.close();
      }
    }),
    { numRuns: 64 },
  );
});

async function apply(
  store: DeploymentStore,
  id: string,
  change: { type: "scale"; replicas: number } | { type: "stop" | "restart" | "crash" },
  world: ReturnType<typeof createMockWorld>,
): Promise<void> {
  if (change.type === "crash") {
    const runtime = createMockRuntime({ world, tickIntervalMs: null });
    const [victim] = runtime.running();
    if (victim) runtime.crash(victim.name);
    return;
  }
  await store.transaction(async (tx) => {
    const record = await tx.load(id);
    if (!record || record.deployment.desired === "STOP") return;
    const { deployment } = record;
    const changed: Deployment =
      change.type === "stop"
        ? { ...deployment, desired: "STOP" }
        : change.type === "scale"
          ? { ...deployment, desiredReplicas: change.replicas }
          : { ...deployment, generation: deployment.generation + 1 };
    await saveSettled(tx, { ...record, deployment: changed }, 0);
  });
}
