import type { HealthCheck, Replica } from "../deployment.ts";
import type { DeploymentRecord, DeploymentStore, DeploymentTransaction } from "../store/deployment-store.ts";
import { describeReplica, saveSettled } from "./settle.ts";
import { contextOf, transition, type ReplicaEvent } from "./transitions.ts";

interface ReplicaChange {
  deploymentId: string;
  replicaId: string;
  event: ReplicaEvent;
  /** The process of the event: nothing changes when another one has taken its place. */
  incarnation?: number;
  /** The host of the event: likewise, when the replica was moved. */
  hostId?: string;
  /** Further changes that go with it. */
  set?: (replica: Replica) => Partial<Replica>;
  check?: HealthCheck;
}

/** Writes transitions: one transaction each, with the replica's event and its effect on the deployment. */
export interface ReplicaChanges {
  /** The record after the change, or null when the event no longer applies to the replica. */
  apply(change: ReplicaChange): Promise<DeploymentRecord | null>;
  /** Changes fields that no transition changes. */
  update(change: Omit<ReplicaChange, "event">): Promise<DeploymentRecord | null>;
}

export function createReplicaChanges(options: {
  store: DeploymentStore;
  now: () => number;
  random: () => number;
}): ReplicaChanges {
  const { store, now, random } = options;

  const change = (
    wanted: Omit<ReplicaChange, "event">,
    next: (replica: Replica, record: DeploymentRecord, at: number) => Replica | null,
  ) =>
    store.transaction(async (tx) => {
      const record = await tx.load(wanted.deploymentId);
      const before = record?.replicas.find(({ id }) => id === wanted.replicaId);
      if (!record || !before) return null;
      if (wanted.incarnation !== undefined && wanted.incarnation !== before.incarnation) return null;
      if (wanted.hostId !== undefined && wanted.hostId !== before.hostId) return null;
      const at = now();
      const moved = next(before, record, at);
      if (!moved) return null;
      const after = { ...moved, ...wanted.set?.(moved) };
      await tx.saveReplica(after);
      if (wanted.check) await recordCheck(tx, record, before, wanted.check);
      const event = describeReplica(before, after, at);
      const replicas = record.replicas
        .map((replica) => (replica.id === after.id ? after : replica))
        .filter(({ state }) => state.phase !== "STOPPED");
      const lastHealthCheckAt = wanted.check?.at ?? record.deployment.lastHealthCheckAt;
      return saveSettled(
        tx,
        { deployment: { ...record.deployment, lastHealthCheckAt }, replicas },
        at,
        event ? [event] : [],
      );
    });

  return {
    apply: (wanted) =>
      change(wanted, (replica, { deployment }, at) => {
        const core = transition(replica, wanted.event, contextOf(deployment, at, random()));
        if (!core) return null;
        const after: Replica = { ...replica, ...core };
        // A place that failed for good gives its port back; it takes one again when it is restarted.
        return core.state.phase === "FAILED" ? { ...after, port: null } : after;
      }),
    update: (wanted) => change(wanted, (replica) => replica),
  };
}

/** Announced when the outcome differs from the replica's last one. */
async function recordCheck(
  tx: DeploymentTransaction,
  { deployment }: DeploymentRecord,
  before: Replica,
  check: HealthCheck,
): Promise<void> {
  const { phase } = before.state;
  const last = phase === "READY" ? "HEALTHY" : phase === "UNHEALTHY" ? "UNHEALTHY" : null;
  await tx.recordCheck(deployment, check, check.status !== last);
}
