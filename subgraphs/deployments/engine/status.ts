import type { Deployment, DeploymentStatus, HealthStatus, Replica } from "../deployment.ts";
import type { Reason } from "../reason.ts";
import { mostAttempts } from "./backoff.ts";
import { NOT_YET } from "./probe-failure.ts";

export interface DerivedStatus {
  status: DeploymentStatus;
  health: HealthStatus;
  /** Why it is not in its desired state, in a sentence; null when it is. */
  reason: string | null;
  /** The server's own words about it. */
  words: string | null;
}

type Desired = Pick<Deployment, "desired" | "desiredReplicas" | "autoscale" | "everReady" | "deployedAt">;
type Observed = Pick<Replica, "ordinal" | "state" | "attempts">;

/** The table of deployments.md: a deployment's status, from its desired state and its replicas. */
export function deriveStatus(deployment: Desired, replicas: readonly Observed[]): DerivedStatus {
  if (deployment.desired === "STOP") {
    return replicas.length === 0
      ? { status: "STOPPED", health: "UNKNOWN", reason: null, words: null }
      : { status: "STOPPING", health: "UNKNOWN", reason: stoppingReason(replicas), words: null };
  }
  if (deployment.desiredReplicas === 0) {
    const isLeft = replicas.some(({ state }) => state.phase === "READY");
    const reason = deployment.autoscale
      ? isLeft
        ? "It goes to zero replicas: its last ones stop once their calls and sessions have ended."
        : "It is idle at zero replicas: the next call wakes it."
      : "It is scaled to zero replicas.";
    return { status: "RUNNING", health: "UNKNOWN", reason, words: null };
  }
  const wanted = deployment.desiredReplicas;
  const serving = replicas.filter((replica) => replica.state.phase === "READY").length;
  if (serving >= wanted) return { status: "RUNNING", health: "HEALTHY", reason: null, words: null };
  const others = replicas.filter(({ state }) => state.phase !== "READY" && !isLeaving(state));
  const why = worst(deployment, others);
  const words = why?.words ?? null;
  if (serving > 0) {
    const detail = why === null ? "" : ` ${why.reason}`;
    const reason = `${serving} of ${wanted} replicas are ready.${detail}`;
    return { status: "RUNNING", health: "DEGRADED", reason, words };
  }
  if (others.length > 0 && others.every(({ state }) => state.phase === "FAILED"))
    return { status: "FAILED", health: "UNHEALTHY", reason: why?.reason ?? null, words };
  // None has failed: it only begins again, since there is load.
  const wakes = others.every(({ state, attempts }) => attempts === 0 && BEGINS.includes(state.phase));
  if (deployment.everReady && deployment.autoscale && wakes)
    return { status: "RUNNING", health: "UNKNOWN", reason: `It wakes up. ${why?.reason ?? ""}`.trim(), words };
  if (deployment.everReady)
    return { status: "RUNNING", health: "UNHEALTHY", reason: why?.reason ?? "No replica is ready.", words };
  return { status: "STARTING", health: "UNKNOWN", reason: why?.reason ?? "Its replicas are about to start.", words };
}

function isLeaving(state: Replica["state"]): boolean {
  return state.phase === "STOPPED" || (state.phase === "STOPPING" && state.then === "REMOVE");
}

const BEGINS: readonly string[] = ["PENDING", "STARTING"];
/** Of a replica that takes no new calls. */
export const RETIRING = "It stops once its calls and sessions have ended.";
const GRAVITY = ["FAILED", "BACKOFF", "UNHEALTHY", "STOPPING", "STARTING", "PENDING"];

function worst(deployment: Desired, replicas: readonly Observed[]): Reason | null {
  const sorted = replicas.toSorted((a, b) => GRAVITY.indexOf(a.state.phase) - GRAVITY.indexOf(b.state.phase));
  return sorted[0] ? replicaReason(deployment, sorted[0]) : null;
}

/** Why one replica is not READY; null when it is. */
export function replicaReason(
  deployment: Pick<Deployment, "deployedAt">,
  { state, attempts }: Pick<Observed, "state" | "attempts">,
): Reason | null {
  const words = "words" in state ? (state.words ?? null) : null;
  switch (state.phase) {
    case "READY":
      return state.retiringSince === undefined ? null : { reason: `It takes no new calls. ${RETIRING}`, words };
    case "PENDING":
      return { reason: state.reason ?? "It is about to start.", words };
    case "STARTING":
      return { reason: joined(state.reason, state.waitsFor) || `${NOT_YET}.`, words };
    case "UNHEALTHY":
    case "FAILED":
    case "STOPPING":
      return { reason: state.reason, words };
    case "BACKOFF": {
      const reason = `${state.reason} It is started again soon (try ${attempts + 1} of ${state.most ?? mostAttempts(deployment)}).`;
      return { reason, words };
    }
    case "STOPPED":
      return { reason: "It is stopped.", words };
  }
}

function joined(...sentences: (string | undefined)[]): string {
  return sentences.filter((sentence) => sentence !== undefined).join(" ");
}

function stoppingReason(replicas: readonly Observed[]): string {
  return replicas.length === 1 ? "Its replica is stopping." : `${replicas.length} replicas are stopping.`;
}
