import { createEventLog, createInProcessBus } from "@toolyard/events";
import { createMockRuntime, type MockRuntime, type MockWorld } from "@toolyard/runtimes/mock/mock-runtime.ts";
import { createRemoteRuntime } from "@toolyard/runtimes/remote/remote-runtime.ts";
import { createLogger, createSealer } from "@toolyard/service-kit";
import { openDatabase, readMigrations, type Database } from "@toolyard/storage";
import { deploymentEvents, entities, healthEvents, migrationsFolder } from "../database.ts";
import { deploymentOf } from "../deployment-fixture.ts";
import type { Deployment, DeploymentEventPayload, HealthEventPayload } from "../deployment.ts";
import { createSqlDeploymentStore } from "../store/deployment-store.sql.ts";
import type { DeploymentStore } from "../store/deployment-store.ts";
import { createKnownSecrets } from "../logs/known-secrets.ts";
import { createLogArchive } from "../logs/log-archive.ts";
import { newReplica } from "../deploying/new-replica.ts";
import type { HostAgent } from "../hosts/host-agent.ts";
import { offerOf, type HostOffer } from "../hosts/host.ts";
import { createHostPorts, createPlacement } from "../hosts/placement.ts";
import { createReaper } from "./reaper.ts";
import { createSimulatedProber } from "./simulated-prober.ts";
import { createProber } from "./probe.ts";
import { createReconciler, type Reconciler, type ReconcilerOptions } from "./reconciler.ts";
import { saveSettled } from "./settle.ts";

const HOST_ID = "host-1";
const ADDRESS = "127.0.0.1";
const FIRST_PORT = 9_000;
const sealer = createSealer({ secretKey: "a-secret-key-of-at-least-32-characters" });
const secrets = createKnownSecrets({ sealer, hostSecrets: [] });
/** Keeps nothing. */
const archive = createLogArchive({ root: import.meta.dirname, retentionMs: 0, now: Date.now });
export const logger = createLogger({ level: "silent", name: "test" });
const MIGRATIONS = readMigrations(migrationsFolder);

export const openStoreDatabase = (file = ":memory:"): Promise<Database> =>
  openDatabase({ file, entities, migrations: MIGRATIONS });

export function createStore(database: Database): DeploymentStore {
  const bus = createInProcessBus();
  return createSqlDeploymentStore({
    database,
    events: createEventLog<DeploymentEventPayload>({ database, schema: deploymentEvents, bus }),
    health: createEventLog<HealthEventPayload>({ database, schema: healthEvents, bus }),
  });
}

/** A deployment just asked for, of a tool of its own. Its replicas have ports from `firstPort` on. */
export async function insertDeployment(
  store: DeploymentStore,
  slug: string,
  replicas: number,
  firstPort: number,
  hostId = HOST_ID,
  given: Partial<Deployment> = {},
): Promise<Deployment> {
  const deployment = deploymentOf({ toolId: slug, toolSlug: slug, desiredReplicas: replicas, ...given });
  await store.transaction(async (tx) => {
    await tx.insertDeployment(deployment);
    const made = Array.from({ length: replicas }, (_, ordinal) =>
      newReplica({ deployment, ordinal, place: { hostId, address: ADDRESS, port: firstPort + ordinal } }),
    );
    for (const replica of made) await tx.insertReplica(replica);
    await saveSettled(tx, { deployment, replicas: made }, 0);
  });
  return deployment;
}

export interface ControlPlane {
  reconciler: Reconciler;
  runtime: MockRuntime;
  /** Names of processes that run but do not answer. */
  sick: Set<string>;
  /** The process is gone; its children run on. */
  close(): Promise<void>;
}

/** A reconciler on a store and a world of simulated replicas. It sweeps when it is told to. */
export function createControlPlane(options: {
  store: DeploymentStore;
  world: MockWorld;
  now: () => number;
  ports?: number;
  /** One of several hosts. @default the only one */
  agent?: HostAgent;
  /** Wraps the runtime that the reconciler sees. */
  around?: (runtime: MockRuntime) => MockRuntime;
  overrides?: Partial<ReconcilerOptions>;
}): ControlPlane {
  const { store, world, now, ports: count = 21, around = (runtime) => runtime, overrides } = options;
  const runtime = around(createMockRuntime({ world, tickIntervalMs: 1 }));
  const runtimes = [runtime, createRemoteRuntime()];
  const sick = new Set<string>();
  const prober = createSimulatedProber({
    runtimes,
    others: createProber({ allowPrivateRemotes: false }),
    isSick: (name) => sick.has(name),
  });
  const offer = offerWith(count, runtime);
  const { agent = onlyHost(offer) } = options;
  const portsOf = createHostPorts({
    store,
    hostId: agent.hostId,
    isPortFree: async (_address, port) => !runtime.running().some((spec) => spec.port === port),
  });
  const reconciler = createReconciler({
    store,
    agent,
    placement: createPlacement({ store, agent, portsOf: (host) => portsOf(host.id, host.offer) }),
    runtimes,
    prober,
    ports: portsOf(agent.hostId, offer),
    sealer,
    secrets,
    reap: createReaper({ runtimes: new Map(runtimes.map((each) => [each.kind, each])), archive, secrets, logger }),
    logger,
    now,
    random: () => 0,
    drainMs: 0,
    graceMs: 1,
    ...overrides,
  });
  return {
    reconciler,
    runtime,
    sick,
    async close() {
      await reconciler.close({ stopReplicas: false });
      await prober.close();
      await runtime.close();
    },
  };
}

/** A host with so many ports. */
export function offerWith(ports: number, runtime: MockRuntime): HostOffer {
  const portRange = { first: FIRST_PORT, last: FIRST_PORT + ports - 1 };
  return offerOf({ address: ADDRESS, url: null, portRange }, [runtime]);
}

/** Nobody else is there: nothing is to be renewed or lost. */
function onlyHost(offer: HostOffer): HostAgent {
  const host = { id: HOST_ID, token: 1, owner: "test", heardAt: 0, leaseUntil: Infinity, offer };
  return {
    hostId: HOST_ID,
    async enter() {},
    async lead() {},
    beat: async () => true,
    isLeader: () => true,
    whyGone: () => null,
    known: () => [host],
    living: async () => [host],
    all: async () => [{ ...host, isLiving: true }],
    async close() {},
  };
}
