import type { Deployment, DeploymentStatus, Replica } from "../deployment.ts";
import type { DeploymentEventDraft, DeploymentRecord, DeploymentTransaction } from "../store/deployment-store.ts";
import { deriveStatus, RETIRING } from "./status.ts";

/** For changes of neither status nor health: followers, proxies among them, look again only when an event says so. */
const REASON_CHANGED = "REASON_CHANGED";

/**
 * The deployment as it follows from its replicas, with the events for its subscribers. `deployedAt` is when it first answered,
 * `stoppedAt` when nothing of it was left.
 */
function settle(
  { deployment, replicas }: DeploymentRecord,
  now: number,
): { deployment: Deployment; events: DeploymentEventDraft[] } {
  const everReady = deployment.everReady || replicas.some(({ state }) => state.phase === "READY");
  const derived = deriveStatus({ ...deployment, everReady }, replicas);
  const settled: Deployment = {
    ...deployment,
    ...derived,
    everReady,
    deployedAt: deployment.deployedAt ?? (derived.status === "RUNNING" && everReady ? now : null),
    stoppedAt: derived.status === "STOPPED" ? (deployment.stoppedAt ?? now) : null,
    settledAt: isSettled(deployment, derived.status, replicas) ? (deployment.settledAt ?? now) : null,
  };
  const told = (kind: string) => [{ kind, message: describeStatus(settled), words: settled.words }];
  if (derived.status !== deployment.status) return { deployment: settled, events: told(derived.status) };
  if (derived.health !== deployment.health) return { deployment: settled, events: told("HEALTH_CHANGED") };
  if (derived.reason !== deployment.reason) return { deployment: settled, events: told(REASON_CHANGED) };
  return { deployment: settled, events: [] };
}

/** Whether nothing of it runs, and nothing is to be done until somebody asks for it: `decide` has no action, now or later. */
export function isSettled(
  { generation, desiredReplicas }: Pick<Deployment, "generation" | "desiredReplicas">,
  status: DeploymentStatus,
  replicas: readonly Pick<Replica, "state" | "generation">[],
): boolean {
  if (status === "STOPPED") return true;
  const isOver = (replica: Pick<Replica, "state" | "generation">) =>
    replica.state.phase === "FAILED" && !replica.state.refusedBy && replica.generation >= generation;
  return status === "FAILED" && replicas.length === desiredReplicas && replicas.every(isOver);
}

/** Settles the record and writes it, its status's events after those given. */
export async function saveSettled(
  tx: DeploymentTransaction,
  record: DeploymentRecord,
  now: number,
  events: readonly DeploymentEventDraft[] = [],
): Promise<DeploymentRecord> {
  const settled = settle(record, now);
  await tx.saveDeployment(settled.deployment);
  // Another event already tells followers to look.
  const news = events.length > 0 ? settled.events.filter(({ kind }) => kind !== REASON_CHANGED) : settled.events;
  tx.emit(settled.deployment, [...events, ...news]);
  return { deployment: settled.deployment, replicas: record.replicas };
}

function describeStatus({ name, status, health, reason }: Deployment): string {
  const because = reason === null ? "" : ` ${reason}`;
  switch (status) {
    case "RUNNING":
      return health === "HEALTHY"
        ? `${name} is running and answers.`
        : `${name} is running, but ${health.toLowerCase()}.${because}`;
    case "STARTING":
      return `${name} is starting.${because}`;
    case "STOPPING":
      return `${name} is stopping.`;
    case "STOPPED":
      return `${name} is stopped: nothing of it runs.`;
    case "FAILED":
      return `${name} failed.${because}`;
  }
}

type Described = Pick<Replica, "id" | "ordinal" | "state" | "incarnation" | "restarts">;

const retiringSince = ({ state }: Pick<Replica, "state">): number | undefined =>
  state.phase === "READY" ? state.retiringSince : undefined;

/** The event of a replica's change for subscribers; null when its phase stayed. */
export function describeReplica(before: Described, after: Described, now: number): DeploymentEventDraft | null {
  const { state } = after;
  const isSame = before.state.phase === state.phase && before.incarnation === after.incarnation;
  if (isSame && retiringSince(before) === retiringSince(after)) return null;
  const data = {
    replicaId: after.id,
    ordinal: after.ordinal,
    phase: state.phase,
    restarts: after.restarts,
  };
  const who = `Replica ${after.ordinal}`;
  // Those of one that starts are of the run before.
  const words = "words" in state && state.phase !== "STARTING" ? (state.words ?? null) : null;
  const event = (kind: string, message: string): DeploymentEventDraft => ({
    kind: `REPLICA_${kind}`,
    message,
    words,
    data,
  });
  switch (state.phase) {
    case "PENDING":
      return event(
        "PENDING",
        state.reason === undefined
          ? `${who} is about to be started again.`
          : `${who} waits for a host that can run it. ${state.reason}`,
      );
    case "STARTING":
      return event("STARTING", `${who} is starting.`);
    case "READY":
      return state.retiringSince === undefined
        ? event("READY", before.state.phase === "READY" ? `${who} takes calls again.` : `${who} answers.`)
        : event("RETIRING", `${who} takes no new calls. ${RETIRING}`);
    case "UNHEALTHY":
      return event("UNHEALTHY", `${who} does not answer. ${state.reason}`);
    case "BACKOFF":
      return event(
        "BACKOFF",
        `${who} failed. ${state.reason} It is started again in ${Math.max(1, Math.round((state.until - now) / 1000))} s.`,
      );
    case "STOPPING":
      return event("STOPPING", `${who} is stopping. ${state.reason}`);
    case "STOPPED":
      return event("STOPPED", `${who} is stopped.`);
    case "FAILED":
      return event("FAILED", `${who} failed and is not tried again. ${state.reason}`);
  }
}
