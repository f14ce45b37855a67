import { createEventLog, createInProcessBus } from "@toolyard/events";
import { createMockRuntime, createMockWorld } from "@toolyard/runtimes/mock-runtime.ts";
import type { Runtime } from "@toolyard/runtimes/runtime.ts";
import { createLogger, createSealer, newId } from "@toolyard/service-kit";
import { openDatabase, readMigrations, type Database } from "@toolyard/storage";
import fc from "fast-check";
import { expect, test } from "vitest";
import { deploymentEvents, entities, healthEvents, migrationsFolder } from "../database.ts";
import type { Deployment, DeploymentEventPayload, HealthEventPayload } from "../deployment.ts";
import { createSqlDeploymentStore } from "../deployment-store.sql.ts";
import type { DeploymentStore } from "../deployment-store.ts";
import { launchSpec } from "../launch-spec.ts";
import { createLogArchive } from "../log-archive.ts";
import { createBurial } from "./burial.ts";
import { createKnownSecrets } from "../known-secrets.ts";
import { newReplica } from "../new-replica.ts";
import { createMockProber } from "./mock-prober.ts";
import { createPortAllocator } from "./ports.ts";
import { createProber } from "./probe.ts";
import { createReconciler } from "./reconciler.ts";
import { saveSettled } from "./settle.ts";

const sealer = createSealer({ secretKey: "a-secret-key-of-at-least-32-characters" });
const secrets = createKnownSecrets({ sealer, hostSecrets: [] });
/** Keeps nothing, for no time. */
const archive = createLogArchive({ root: import.meta.dirname, retentionMs: 0, now: Date.now });
const logger = createLogger({ level: "silent", name: "test" });
const MIGRATIONS = readMigrations(migrationsFolder);

function createStore(database: Database): DeploymentStore {
  const bus = createInProcessBus();
  return createSqlDeploymentStore({
    database,
    events: createEventLog<DeploymentEventPayload>({ database, schema: deploymentEvents, bus, topic: "events" }),
    health: createEventLog<HealthEventPayload>({ database, schema: healthEvents, bus, topic: "health" }),
  });
}

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

async function insert(store: DeploymentStore, slug: string, replicas: number, firstPort: number): Promise<Deployment> {
  const deployment: Deployment = {
    id: newId(),
    name: `${slug}-x`,
    toolId: slug,
    toolSlug: slug,
    toolVersionId: "v",
    versionNumber: 1,
    ownerId: null,
    templateId: null,
    digest: "d",
    environment: "PRODUCTION",
    runtime: "MOCK",
    launch: launchSpec.parse({ kind: "stdio", command: "x" }),
    configuration: null,
    sealedConfiguration: null,
    desired: "RUN",
    desiredReplicas: replicas,
    generation: 1,
    role: "ACTIVE",
    status: "STARTING",
    health: "UNKNOWN",
    reason: null,
    words: null,
    everReady: false,
    trafficWeight: 100,
    deployedById: null,
    createdAt: 0,
    deployedAt: null,
    stoppedAt: null,
    lastHealthCheckAt: null,
  };
  await store.transaction(async (tx) => {
    await tx.insertDeployment(deployment);
    const made = Array.from({ length: replicas }, (_, ordinal) =>
      newReplica({ deployment, ordinal, hostId: "host-1", address: "127.0.0.1", port: firstPort + ordinal }),
    );
    for (const replica of made) await tx.insertReplica(replica);
    await saveSettled(tx, { deployment, replicas: made }, 0);
  });
  return deployment;
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
        const database = await openDatabase({ file: ":memory:", entities, migrations: MIGRATIONS });
        try {
          const store = createStore(database);
          const world = createMockWorld();
          let ahead = 0;
          const { id } = await insert(store, "weather", replicas, 9_000);
          const { id: otherId } = await insert(store, "other", 1, 9_010);

          /** A control plane with so many steps to live: sweeps a few times and is gone, without a goodbye. */
          const live = async (steps: number, sweeps: number): Promise<void> => {
            const fuse = createFuse(steps);
            const runtime = fuse.runtime(createMockRuntime({ world, tickIntervalMs: 1 }));
            const mine = fuse.store(store);
            const ports = createPortAllocator({
              range: { first: 9_000, last: 9_020 },
              address: "127.0.0.1",
              portsInUse: () => store.portsInUse("host-1"),
              isPortFree: async (_address, port) => !runtime.running().some((spec) => spec.port === port),
            });
            const prober = createMockProber({ runtime, others: createProber({ allowPrivateRemotes: false }) });
            const reconciler = createReconciler({
              store: mine,
              runtimes: [runtime],
              prober,
              ports,
              sealer,
              secrets,
              bury: createBurial({ runtimes: new Map([[runtime.kind, runtime]]), archive, secrets, logger }),
              logger,
              hostId: "host-1",
              address: "127.0.0.1",
              random: () => 0,
              drainMs: 0,
              graceMs: 1,
              // Back-offs pass from one sweep to the next.
              now: () => Date.now() + ahead,
            });
            for (let sweep = 0; sweep < sweeps; sweep += 1) {
              ahead += 70_000;
              await Promise.race([reconciler.sweep(), rest(steps === Infinity ? 2_000 : 30)]);
            }
            await reconciler.close({ stopReplicas: false });
            await prober.close();
            await runtime.close();
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
}, 120_000);

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

function rest(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
