import type { ReplicaHandle, Runtime, RuntimeKind } from "@toolyard/runtimes/runtime.ts";
import { ToolyardError, type Logger, type Sealer } from "@toolyard/service-kit";
import type { Deployment, HealthCheck, Replica, ReplicaPhase } from "../deployment.ts";
import type { DeploymentRecord, DeploymentStore } from "../deployment-store.ts";
import type { KnownSecrets } from "../known-secrets.ts";
import { newReplica } from "../new-replica.ts";
import { createCensus, keyOf } from "./census.ts";
import { decide, nextLook, type Action, type DesiredDeployment, type ObservedReplica } from "./decide.ts";
import { portsFor, type PortAllocator } from "./ports.ts";
import type { Prober } from "./probe.ts";
import { createReplicaChanges } from "./replica-changes.ts";
import type { Bury } from "./burial.ts";
import { createReplicaWork } from "./replica-work.ts";
import { saveSettled } from "./settle.ts";
import { suspendReplicas } from "./suspension.ts";
import { shiftRoute } from "./route-shift.ts";

/** Closes the gap between what was asked and what runs on this host. The only code that starts or stops replicas. */
export interface Reconciler {
  /** Begins to sweep. What runs already is adopted by its name. */
  start(): void;
  /** Look at this deployment now: something changed. */
  wake(deploymentId: string): void;
  /** Probes the deployment's replicas now; empty when none can be called. */
  check(deploymentId: string, signal: AbortSignal): Promise<HealthCheck[]>;
  /** One sweep, and all work that it begins: for tests. */
  sweep(): Promise<void>;
  /** Ends all work. With `stopReplicas` every replica of this host is stopped first, to be started again with the next start. */
  close(options: { stopReplicas: boolean }): Promise<void>;
}

export interface ReconcilerOptions {
  store: DeploymentStore;
  runtimes: readonly Runtime[];
  prober: Prober;
  ports: PortAllocator;
  sealer: Sealer;
  secrets: KnownSecrets;
  bury: Bury;
  /** Whether a replica has calls that are within their time, as far as proxies tell; they do so within TOLD_WITHIN_MS. */
  isBusy?: (replicaId: string) => boolean;
  logger: Logger;
  hostId: string;
  /** Where replicas of this host listen and are reached. */
  address: string;
  now?: () => number;
  random?: () => number;
  sweepIntervalMs?: number;
  drainMs?: number;
  graceMs?: number;
}

interface Job {
  kind: Action["type"];
  abort: AbortController;
  done: Promise<void>;
}

/** Whoever asks for a check waits for it. */
const CHECK_SECONDS = 20;
const CALLABLE: readonly ReplicaPhase[] = ["STARTING", "READY", "UNHEALTHY"];
/** The bridge itself takes up to 10 s for running calls and a little more to end its children. */
const GRACE_MS = 13_000;

export function createReconciler(options: ReconcilerOptions): Reconciler {
  const { store, prober, ports, sealer, secrets, bury, isBusy = () => false, logger, hostId, address } = options;
  const { now = Date.now, random = Math.random, sweepIntervalMs = 2_000, drainMs = 500, graceMs = GRACE_MS } = options;
  const runtimes: ReadonlyMap<RuntimeKind, Runtime> = new Map(
    options.runtimes.map((runtime) => [runtime.kind, runtime]),
  );
  const changes = createReplicaChanges({ store, now, random });
  const census = createCensus({ store, runtimes, logger, graceMs });
  const work = createReplicaWork({
    changes,
    runtimes,
    prober,
    ports,
    sealer,
    secrets,
    bury,
    isBusy,
    logger,
    now,
    random,
    drainMs,
    graceMs,
    isGone: census.isGone,
  });

  /** What is being done, by replica; one thing at a time. */
  const jobs = new Map<string, Job>();
  const looking = new Map<string, { again: boolean; done: Promise<void> }>();
  const timers = new Map<string, NodeJS.Timeout>();
  let sweeping: Promise<void> | null = null;
  let sweepTimer: NodeJS.Timeout | null = null;
  let unsubscribe: (() => void)[] = [];
  let closed = false;

  function observe(replica: Replica, deployment: Deployment): ObservedReplica {
    const { id, ordinal, generation, state, attempts, lastProbeAt, handle } = replica;
    const exists = deployment.runtime === "REMOTE" ? replica.incarnation > 0 : handle !== null;
    const process = !exists ? "ABSENT" : handle && census.isGone(handle) ? "GONE" : "RUNNING";
    return { id, ordinal, generation, state, attempts, lastProbeAt, process };
  }

  function wake(deploymentId: string): void {
    if (closed) return;
    const running = looking.get(deploymentId);
    if (running) {
      running.again = true;
      return;
    }
    const entry = { again: false, done: Promise.resolve() };
    entry.done = look(deploymentId, entry).finally(() => looking.delete(deploymentId));
    looking.set(deploymentId, entry);
  }

  async function look(deploymentId: string, entry: { again: boolean }): Promise<void> {
    do {
      entry.again = false;
      try {
        const record = await store.load(deploymentId);
        if (record && !closed) await reconcile(record);
      } catch (error) {
        logger.error({ err: error, deployment_id: deploymentId }, "reconciling a deployment failed; it is tried again");
      }
      // Set by `wake` while this looked.
    } while (entry.again && !closed);
  }

  async function reconcile(record: DeploymentRecord): Promise<void> {
    const { deployment, replicas } = record;
    const desired: DesiredDeployment = {
      ...deployment,
      probeIntervalMs: deployment.launch.options.health.intervalSeconds * 1_000,
    };
    const observed = replicas.map((replica) => observe(replica, deployment));
    for (const action of decide(desired, observed, now())) await perform(action, record);
    schedule(deployment.id, nextLook(desired, observed));
  }

  async function perform(action: Action, record: DeploymentRecord): Promise<void> {
    const { deployment } = record;
    switch (action.type) {
      case "mark":
        return changes.mark(deployment.id);
      case "shift":
        for (const id of await shiftRoute(store, deployment.id, now())) wake(id);
        return;
      case "create":
        return createMissing(deployment, action.ordinal);
      default: {
        const replica = record.replicas.find(({ id }) => id === action.replicaId);
        if (replica && replica.hostId === hostId) begin(action, record, replica);
      }
    }
  }

  /** Begins a piece of work on a replica, unless one is under way. A stop ends what is under way; its turn comes after that. */
  function begin(
    action: Exclude<Action, { type: "mark" | "shift" | "create" }>,
    record: DeploymentRecord,
    replica: Replica,
  ): void {
    const running = jobs.get(replica.id);
    if (running) {
      if (action.type === "stop" || action.type === "reset" || action.type === "bury") {
        if (running.kind !== "stop") running.abort.abort();
        else if (action.type === "stop" && action.then === "REMOVE") void overrule(replica, action.reason);
      }
      return;
    }
    const abort = new AbortController();
    const run = async (): Promise<void> => {
      let failed = false;
      try {
        await doWork(action, record, replica, abort.signal);
      } catch (error) {
        failed = !abort.signal.aborted;
        if (failed)
          logger.error(
            { err: error, deployment: deployment(record), action: action.type },
            "work on a replica failed; it is tried again",
          );
      } finally {
        jobs.delete(replica.id);
        if (replica.handle && (action.type === "bury" || action.type === "stop")) census.forget(replica.handle);
        // What failed is for the next sweep: tried again at once, it would most likely fail again, and again.
        if (!failed) wake(replica.deploymentId);
      }
    };
    // Set before it runs: the work's own changes may wake this deployment.
    const job: Job = { kind: action.type, abort, done: Promise.resolve() };
    jobs.set(replica.id, job);
    job.done = run();
  }

  async function overrule({ deploymentId, id: replicaId }: Replica, reason: string): Promise<void> {
    try {
      await changes.apply({ deploymentId, replicaId, event: { type: "stop", then: "REMOVE", reason } });
    } catch (error) {
      logger.error({ err: error, replica_id: replicaId }, "a stop could not be recorded; the next sweep tries again");
    }
  }

  async function doWork(
    action: Exclude<Action, { type: "mark" | "shift" | "create" }>,
    record: DeploymentRecord,
    replica: Replica,
    signal: AbortSignal,
  ): Promise<void> {
    switch (action.type) {
      case "start":
        return work.start(record, replica, signal);
      case "await":
        return work.awaitAnswer(record, replica, signal);
      case "probe":
        await work.probe(record, replica, signal);
        return;
      case "bury":
        return work.bury(record, replica);
      case "stop":
        return work.stop(record, replica, action.then, action.reason);
      case "reset":
        return work.reset(record, replica);
    }
  }

  async function createMissing(of: Deployment, ordinal: number): Promise<void> {
    try {
      await ports.reserve(portsFor(1, of, options.runtimes, address), ([port]) =>
        store.transaction(async (tx) => {
          const record = await tx.load(of.id);
          if (!record || record.deployment.desired === "STOP") return;
          if (record.replicas.some((replica) => replica.ordinal === ordinal)) return;
          const replica = newReplica({
            deployment: record.deployment,
            ordinal,
            hostId,
            address,
            port: port ?? null,
          });
          await tx.insertReplica(replica);
          await saveSettled(tx, { ...record, replicas: [...record.replicas, replica] }, now());
        }),
      );
      wake(of.id);
    } catch (error) {
      if (!(error instanceof ToolyardError)) throw error;
      logger.warn({ deployment: of.name, reason: error.message }, "a replica is missing and cannot be made yet");
    }
  }

  function schedule(deploymentId: string, at: number | null): void {
    clearTimeout(timers.get(deploymentId));
    timers.delete(deploymentId);
    if (at === null || closed) return;
    const timer = setTimeout(
      () => {
        timers.delete(deploymentId);
        wake(deploymentId);
      },
      Math.min(Math.max(at - now(), 10), sweepIntervalMs),
    );
    timer.unref();
    timers.set(deploymentId, timer);
  }

  async function sweepOnce(): Promise<void> {
    for (const { deployment } of await census.take()) wake(deployment.id);
  }

  async function sweep(): Promise<void> {
    sweeping ??= sweepOnce()
      .catch((error: unknown) => logger.error({ err: error }, "a sweep failed; the next one tries again"))
      .finally(() => {
        sweeping = null;
      });
    await sweeping;
  }

  function onExit(handle: ReplicaHandle): void {
    census.noteGone(handle);
    void sweepFor(handle);
  }

  async function sweepFor(handle: ReplicaHandle): Promise<void> {
    try {
      for (const { deployment, replicas } of await store.unsettled())
        if (replicas.some((replica) => replica.handle && keyOf(replica.handle) === keyOf(handle))) wake(deployment.id);
    } catch (error) {
      logger.error(
        { err: error, replica: handle.name },
        "the end of a replica could not be looked into; the next sweep does",
      );
    }
  }

  return {
    start() {
      unsubscribe = [...runtimes.values()].map((runtime) => runtime.onExit(onExit));
      const again = (): void => {
        void sweep().then(() => {
          if (!closed) sweepTimer = setTimeout(again, sweepIntervalMs).unref();
        });
      };
      again();
    },
    wake,
    async check(deploymentId, signal) {
      const record = await store.load(deploymentId);
      if (!record) return [];
      const { launch } = record.deployment;
      const callable = record.replicas.filter(({ state, handle }) =>
        launch.kind === "remote" ? state.phase !== "STOPPING" : CALLABLE.includes(state.phase) && handle !== null,
      );
      const limit = { seconds: CHECK_SECONDS, setting: `probes wait ${launch.options.health.timeoutSeconds} s` };
      const checks = await Promise.all(callable.map((replica) => work.probe(record, replica, signal, limit)));
      wake(deploymentId);
      return checks.filter((check) => check !== null);
    },
    async sweep() {
      await sweep();
      while (looking.size > 0 || jobs.size > 0)
        await Promise.allSettled([
          ...[...looking.values()].map(({ done }) => done),
          ...[...jobs.values()].map(({ done }) => done),
        ]);
    },
    async close({ stopReplicas }) {
      closed = true;
      if (sweepTimer) clearTimeout(sweepTimer);
      for (const stop of unsubscribe) stop();
      for (const timer of timers.values()) clearTimeout(timer);
      timers.clear();
      await sweeping;
      await Promise.allSettled([...looking.values()].map(({ done }) => done));
      for (const { kind, abort } of jobs.values()) if (kind !== "stop" && kind !== "bury") abort.abort();
      await Promise.allSettled([...jobs.values()].map(({ done }) => done));
      await census.settled();
      if (stopReplicas)
        await suspendReplicas({ store, runtimes: [...runtimes.values()], hostId, graceMs, now, logger });
    },
  };
}

function deployment({ deployment: { name } }: DeploymentRecord): string {
  return name;
}
