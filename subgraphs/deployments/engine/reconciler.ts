import { setImmediate as turn } from "node:timers/promises";
import type { ReplicaHandle, Runtime, RuntimeKind } from "@toolyard/runtimes/runtime.ts";
import { ToolyardError, type Logger, type Sealer } from "@toolyard/service-kit";
import { createOutageLog, databaseFailureOf } from "@toolyard/storage";
import type { Deployment, HealthCheck, Replica, ReplicaPhase } from "../deployment.ts";
import type { DeploymentRecord, DeploymentStore } from "../store/deployment-store.ts";
import type { InterfaceRecorder } from "../interfaces/interface-recorder.ts";
import type { KnownSecrets } from "../logs/known-secrets.ts";
import { newReplica } from "../deploying/new-replica.ts";
import type { HostAgent } from "../hosts/host-agent.ts";
import { canRun, type Placement } from "../hosts/placement.ts";
import type { Load } from "../load.ts";
import { createAutoscaler } from "./autoscale.ts";
import { createCensus } from "./census.ts";
import { decide, nextLook, type Action, type DesiredDeployment, type ObservedReplica } from "./decide.ts";
import { AT_ONCE, createKnownRecords } from "./known-records.ts";
import type { PortAllocator } from "./ports.ts";
import type { Prober } from "./probe.ts";
import { createQuietProbes } from "./quiet-probes.ts";
import { createReplicaChanges } from "./replica-changes.ts";
import type { Reap } from "./reaper.ts";
import { createReplicaJobs, type ReplicaAction } from "./replica-jobs.ts";
import { createReplicaWork } from "./replica-work.ts";
import { relocate } from "./relocate.ts";
import { saveSettled } from "./settle.ts";
import type { ListedNames } from "../usage/listed-names.ts";
import { suspendReplicas } from "./suspension.ts";
import { readyOf, shiftRoute } from "./route-shift.ts";

/**
 * Closes the gap between the desired state and the replicas on this host. The only code that starts or stops replicas. Of the reconcilers of several
 * hosts the leader's also does what is no single host's: it makes replicas that are missing, moves those of lost hosts and shifts routes.
 */
export interface Reconciler {
  /** Begins to sweep. Running processes are adopted by name. */
  start(): void;
  /** Looks at this deployment now, since something changed. */
  wake(deploymentId: string): void;
  /** Looks at this deployment as last read, since its load is known anew. */
  noteLoad(deploymentId: string): void;
  /** Probes the deployment's replicas on this host now; answers an empty list when none can be called. */
  check(deploymentId: string, signal: AbortSignal): Promise<HealthCheck[]>;
  /** The last sweep's records of all unsettled deployments; up to a sweep's interval old. */
  known(): DeploymentRecord[];
  /** One sweep, and all work that it begins: for tests. */
  sweep(): Promise<void>;
  /** Ends all work. With `stopReplicas`, every replica of this host is stopped first, and started again at the next start. */
  close(options: { stopReplicas: boolean }): Promise<void>;
}

export interface ReconcilerOptions {
  store: DeploymentStore;
  agent: HostAgent;
  placement: Placement;
  runtimes: readonly Runtime[];
  prober: Prober;
  /** Of this host. */
  ports: PortAllocator;
  sealer: Sealer;
  secrets: KnownSecrets;
  reap: Reap;
  /** Whether a replica has calls within their time limit, as reported by proxies, at most TOLD_WITHIN_MS late. */
  isBusy?: (replicaId: string, withinMs?: number) => boolean;
  /** @default none */
  load?: Pick<Load, "callsOf" | "lastUsedAt">;
  /** Receives the tools that servers list to probes. */
  listed?: Pick<ListedNames, "note">;
  /** Makes what records servers' interfaces, on the store that this host may write. @default none */
  createRecorder?: (store: DeploymentStore) => InterfaceRecorder;
  logger: Logger;
  now?: () => number;
  random?: () => number;
  sweepIntervalMs?: number;
  drainMs?: number;
  callsMs?: number;
  graceMs?: number;
}

/** A user who asks for a check waits for it. */
const CHECK_SECONDS = 20;
/** A call that was on its way to a replica when that retired is told of by then. */
const UNUSED_MS = 2_000;
const CALLABLE: readonly ReplicaPhase[] = ["STARTING", "READY", "UNHEALTHY"];
/** The bridge itself takes up to 10 s for running calls and a little more to end its children. */
const GRACE_MS = 13_000;
const recordsNothing: InterfaceRecorder = {
  begin() {},
  beginUnlessKnown() {},
  async settled() {},
  async close() {},
};

export function createReconciler(options: ReconcilerOptions): Reconciler {
  const { agent, placement, prober, ports, sealer, secrets, reap, isBusy = () => false, logger } = options;
  const { hostId } = agent;
  const {
    listed = { note() {} },
    load = { callsOf: () => 0, lastUsedAt: () => 0 },
    now = Date.now,
    random = Math.random,
    sweepIntervalMs = 2_000,
    drainMs = 500,
    callsMs = 10_000,
    graceMs = GRACE_MS,
  } = options;
  const runtimes: ReadonlyMap<RuntimeKind, Runtime> = new Map(
    options.runtimes.map((runtime) => [runtime.kind, runtime]),
  );
  const store = guarded(options.store, agent.enter);
  const leading = guarded(options.store, agent.lead);
  const changes = createReplicaChanges({ store, now, random });
  const known = createKnownRecords({ store, logger });
  const quietProbes = createQuietProbes({ store, logger });
  const recorder = options.createRecorder?.(store) ?? recordsNothing;
  const autoscaler = createAutoscaler({ callsOf: load.callsOf, now });
  function desiredOf(deployment: Deployment): DesiredDeployment {
    const replaced = replacedBy(deployment);
    return {
      ...deployment,
      probeIntervalMs: deployment.launch.options.health.intervalSeconds * 1_000,
      wantedByLoad: autoscaler.wanted(deployment, replaced?.deployment ?? null),
      readyBefore: readyOf(replaced),
    };
  }
  /** As last read: of which load is told, it is unsettled. */
  function replacedBy({ role, toolId, environment }: Deployment): DeploymentRecord | null {
    if (role !== "PENDING") return null;
    const active = known
      .all()
      .find(
        ({ deployment: each }) =>
          each.role === "ACTIVE" &&
          each.toolId === toolId &&
          each.environment === environment &&
          each.desired === "RUN",
      );
    return active ?? null;
  }
  const census = createCensus({ known, runtimes, logger, hostId, graceMs });
  const work = createReplicaWork({
    changes,
    runtimes,
    prober,
    ports,
    sealer,
    secrets,
    reap,
    isBusy,
    listed,
    recorder,
    quietProbes,
    async refusalsOf(deployment, replica) {
      const refusedBy = [...refusedBefore(replica), hostId];
      const others = (await agent.all()).filter((host) => !refusedBy.includes(host.id));
      return others.some((host) => canRun(host, deployment)) ? refusedBy : null;
    },
    logger,
    now,
    random,
    drainMs,
    callsMs,
    graceMs,
    isGone: census.isGone,
  });

  const jobs = createReplicaJobs({
    work,
    changes,
    logger,
    probed: known.probed,
    ended(action, { handle, deploymentId }, outcome) {
      if (handle && (action.type === "reap" || action.type === "stop")) census.forget(handle);
      // Failed work is left to the next sweep: tried again at once, it would most likely fail again, and again.
      if (outcome === "CHANGED") wake(deploymentId);
      if (outcome === "UNCHANGED") lookAgain(deploymentId);
    },
  });
  const outages = createOutageLog({ what: "looking after the replicas", logger });
  const looking = new Map<string, { again: boolean; done: Promise<void> }>();
  const timers = new Map<string, NodeJS.Timeout>();
  let sweeping: Promise<void> | null = null;
  let sweepTimer: NodeJS.Timeout | null = null;
  let unsubscribe: (() => void)[] = [];
  let closed = false;

  const observerOf = (deployment: Deployment) => (replica: Replica) => observe(deployment, replica);
  function observe(deployment: Deployment, replica: Replica): ObservedReplica {
    const { id, ordinal, generation, state, attempts, lastProbeAt, handle } = replica;
    const process = handle === null ? "ABSENT" : census.isGone(handle) ? "GONE" : "RUNNING";
    const isLost = agent.whyGone(replica.hostId) !== null;
    const refusedBy = refusedBefore(replica);
    const hasOtherHost =
      refusedBy.length > 0 &&
      agent.isLeader() &&
      agent.known().some((host) => !refusedBy.includes(host.id) && canRun(host, deployment));
    const isUnused = isUnusedSince(deployment, replica, Math.max(load.lastUsedAt(id), replica.startedAt ?? 0));
    return {
      id,
      ordinal,
      generation,
      state,
      attempts,
      lastProbeAt,
      process: isLost ? "LOST" : process,
      isUnused,
      hasOtherHost,
    };
  }

  function isUnusedSince({ launch, autoscale }: Deployment, { state }: Replica, lastUsedAt: number): boolean {
    if (autoscale === null || state.phase !== "READY" || state.retiringSince === undefined) return false;
    // A bridge counts its sessions, and is asked. Those of another server are over once nothing was heard of them for long.
    const unusedMs = launch.kind === "stdio" ? UNUSED_MS : Math.max(UNUSED_MS, autoscale.idleSeconds * 1_000);
    return now() - state.retiringSince >= UNUSED_MS && now() - lastUsedAt >= unusedMs;
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
        const record = await known.read(deploymentId);
        if (record && !closed) await reconcile(record);
      } catch (error) {
        // All deployments fail of that at once, and sweeps tell its end.
        if (databaseFailureOf(error) === "lost-connection") outages.failed(error);
        else
          logger.error(
            { err: error, deployment_id: deploymentId },
            "reconciling a deployment failed; it is tried again",
          );
      }
      // Set by `wake` during this look.
    } while (entry.again && !closed);
  }

  async function reconcile(record: DeploymentRecord): Promise<void> {
    for (const action of actionsFor(record)) await perform(action, record);
    schedule(record);
  }

  /**
   * Looks at a record that may be out of date. That suffices to begin probes, whose results apply only to the process that they asked. All else is
   * decided and done by a record that is read again.
   */
  function lookAtKnown(record: DeploymentRecord): void {
    const { id } = record.deployment;
    if (closed) return;
    if (looking.has(id)) return wake(id);
    const due = actionsFor(record).filter((action) => !isUnderWay(action, record));
    if (due.some(({ type }) => type !== "probe")) return wake(id);
    for (const action of due) void perform(action, record);
    schedule(record);
  }

  function actionsFor({ deployment, replicas }: DeploymentRecord): Action[] {
    const observed = replicas.map(observerOf(deployment));
    return decide(desiredOf(deployment), observed, now());
  }

  /** Whether there is nothing to begin for it now: work on the replica will look again, or it is another host's. */
  function isUnderWay(action: Action, { deployment, replicas }: DeploymentRecord): boolean {
    if (!isReplicaAction(action)) {
      if (!agent.isLeader()) return true;
      if (action.type !== "move") return false;
      const state = replicas.find(({ id }) => id === action.replicaId)?.state;
      const waits = !action.remove && state?.phase === "PENDING" && state.reason !== undefined;
      return waits && !agent.known().some((host) => canRun(host, deployment));
    }
    if (replicas.find((replica) => replica.id === action.replicaId)?.hostId !== hostId) return true;
    return jobs.awaits(action);
  }

  async function perform(action: Action, record: DeploymentRecord): Promise<void> {
    const { deployment, replicas } = record;
    const replica = "replicaId" in action ? replicas.find(({ id }) => id === action.replicaId) : undefined;
    if (isReplicaAction(action)) {
      if (replica?.hostId === hostId) jobs.begin(action, record, replica);
      return;
    }
    if (!agent.isLeader()) return;
    switch (action.type) {
      case "mark":
        return mark(deployment.id);
      case "shift":
        for (const id of await shiftRoute(leading, deployment.id, now())) wake(id);
        return;
      case "scale":
        return scale(deployment.id, action.replicas);
      case "create":
        return createMissing(deployment, action.ordinal);
      case "move":
        if (!replica) return;
        if (
          await relocate({
            store: leading,
            agent,
            placement,
            record,
            replica,
            isElsewhere: runtimes.get(deployment.runtime)?.capabilities.location === "ELSEWHERE",
            remove: action.remove,
            now: now(),
          })
        )
          wake(deployment.id);
    }
  }

  async function mark(deploymentId: string): Promise<void> {
    await leading.transaction(async (tx) => {
      const record = await tx.load(deploymentId);
      if (record) await saveSettled(tx, record, now());
    });
  }

  async function scale(deploymentId: string, replicas: number): Promise<void> {
    const scaled = await leading.transaction(async (tx) => {
      const record = await tx.load(deploymentId);
      if (!record?.deployment.autoscale || record.deployment.desired === "STOP") return null;
      const { name, desiredReplicas: from, autoscale } = record.deployment;
      if (from === replicas) return null;
      const message =
        replicas === 0
          ? `${name} had no call for ${autoscale.idleSeconds} s and is scaled to zero: the next one wakes it.`
          : `${name} was scaled from ${from} to ${replicas} by its load.`;
      const deployment = { ...record.deployment, desiredReplicas: replicas };
      return saveSettled(tx, { ...record, deployment }, now(), [
        { kind: "SCALED", message, data: { from, to: replicas } },
      ]);
    });
    if (scaled) wake(deploymentId);
  }

  async function createMissing(of: Deployment, ordinal: number): Promise<void> {
    try {
      await placement.reserve(1, of, ([place]) =>
        leading.transaction(async (tx) => {
          const record = await tx.load(of.id);
          if (!place || !record || record.deployment.desired === "STOP") return;
          if (record.replicas.some((replica) => replica.ordinal === ordinal)) return;
          const replica = newReplica({ deployment: record.deployment, ordinal, place });
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

  /** Sets a timer for work that is due before the next sweep. Replicas under work are looked at when that ends; those of other hosts are not ours. */
  function schedule({ deployment, replicas }: DeploymentRecord): void {
    const { id } = deployment;
    clearTimeout(timers.get(id));
    timers.delete(id);
    const idle = replicas.filter((replica) => replica.hostId === hostId && !jobs.has(replica.id));
    const at = nextLook(desiredOf(deployment), idle.map(observerOf(deployment)));
    if (at === null || closed || at - now() > sweepIntervalMs) return;
    const timer = setTimeout(
      () => {
        timers.delete(id);
        lookAgain(id);
      },
      Math.max(at - now(), 10),
    );
    timers.set(id, timer.unref());
  }

  function lookAgain(deploymentId: string): void {
    const record = known.get(deploymentId);
    if (record) lookAtKnown(record);
    else wake(deploymentId);
  }

  async function sweepOnce(): Promise<void> {
    if (!(await agent.beat())) {
      // Whatever is under way may be another host's by now.
      jobs.abort();
      return;
    }
    const records = await census.take();
    autoscaler.keep(new Set(records.map(({ deployment }) => deployment.id)));
    for (const [index, { deployment }] of records.entries()) {
      if (index % AT_ONCE === AT_ONCE - 1) await turn();
      // As known by now.
      lookAgain(deployment.id);
    }
    outages.works();
  }

  async function sweep(): Promise<void> {
    sweeping ??= sweepOnce()
      .catch((error: unknown) => outages.failed(error))
      .finally(() => {
        sweeping = null;
      });
    await sweeping;
  }

  function onExit(handle: ReplicaHandle, deploymentId: string): void {
    census.noteGone(handle);
    wake(deploymentId);
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
    noteLoad: lookAgain,
    known: () => known.all(),
    async check(deploymentId, signal) {
      const record = await store.load(deploymentId);
      if (!record) return [];
      const { launch } = record.deployment;
      const own = record.replicas.filter((replica) => replica.hostId === hostId);
      const callable = own.filter(({ state, handle }) =>
        launch.kind === "remote" ? state.phase !== "STOPPING" : CALLABLE.includes(state.phase) && handle !== null,
      );
      const limit = { seconds: CHECK_SECONDS, setting: `probes wait ${launch.options.health.timeoutSeconds} s` };
      const checks = await Promise.all(callable.map((replica) => work.check(record, replica, signal, limit)));
      wake(deploymentId);
      return checks.filter((check) => check !== null);
    },
    async sweep() {
      await sweep();
      while (looking.size > 0 || jobs.size > 0)
        await Promise.allSettled([...[...looking.values()].map(({ done }) => done), jobs.settled()]);
      await recorder.settled();
      await quietProbes.flush();
    },
    async close({ stopReplicas }) {
      closed = true;
      if (sweepTimer) clearTimeout(sweepTimer);
      for (const stop of unsubscribe) stop();
      for (const timer of timers.values()) clearTimeout(timer);
      timers.clear();
      await sweeping;
      await Promise.allSettled([...looking.values()].map(({ done }) => done));
      jobs.abort();
      await jobs.settled();
      await recorder.close();
      await quietProbes.flush();
      await census.settled();
      if (stopReplicas)
        await suspendReplicas({ store, runtimes: [...runtimes.values()], hostId, graceMs, now, logger });
    },
  };
}

function refusedBefore({ state }: Replica): string[] {
  return ("refusedBy" in state && state.refusedBy) || [];
}

function isReplicaAction(action: Action): action is ReplicaAction {
  return "replicaId" in action && action.type !== "move";
}

/** The store, in which nothing is written unless `enter` lets it. */
function guarded(store: DeploymentStore, enter: HostAgent["enter"]): DeploymentStore {
  return {
    ...store,
    transaction: (work) => store.transaction(work, enter),
    recordQuietProbes: (probes) => store.recordQuietProbes(probes, enter),
  };
}
