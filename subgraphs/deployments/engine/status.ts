import type { Deployment, DeploymentStatus, HealthStatus, Replica } from "../deployment.ts";
import { MAX_ATTEMPTS } from "./backoff.ts";

export interface DerivedStatus {
  status: DeploymentStatus;
  health: HealthStatus;
  /** Why it is not what was asked, in a sentence; null when it is. */
  reason: string | null;
}

type Desired = Pick<Deployment, "desired" | "desiredReplicas" | "everReady">;
type Observed = Pick<Replica, "ordinal" | "state" | "attempts">;

/** The table of deployments.md: what a deployment is, from what was asked and what its replicas are. */
export function deriveStatus(deployment: Desired, replicas: readonly Observed[]): DerivedStatus {
  if (deployment.desired === "STOP") {
    return replicas.length === 0
      ? { status: "STOPPED", health: "UNKNOWN", reason: null }
      : { status: "STOPPING", health: "UNKNOWN", reason: stoppingReason(replicas) };
  }
  if (deployment.desiredReplicas === 0)
    return { status: "RUNNING", health: "UNKNOWN", reason: "It is scaled to zero replicas." };
  const wanted = deployment.desiredReplicas;
  const serving = replicas.filter((replica) => replica.state.phase === "READY").length;
  if (serving >= wanted) return { status: "RUNNING", health: "HEALTHY", reason: null };
  const others = replicas.filter(({ state }) => state.phase !== "READY" && !isLeaving(state));
  const why = worst(others);
  if (serving > 0) {
    const detail = why === null ? "" : ` ${why}`;
    return { status: "RUNNING", health: "DEGRADED", reason: `${serving} of ${wanted} replicas are ready.${detail}` };
  }
  if (others.length > 0 && others.every(({ state }) => state.phase === "FAILED"))
    return { status: "FAILED", health: "UNHEALTHY", reason: why };
  if (deployment.everReady) return { status: "RUNNING", health: "UNHEALTHY", reason: why ?? "No replica is ready." };
  return { status: "STARTING", health: "UNKNOWN", reason: why ?? "Its replicas are about to start." };
}

function isLeaving(state: Replica["state"]): boolean {
  return state.phase === "STOPPED" || (state.phase === "STOPPING" && state.then === "REMOVE");
}

const GRAVITY = ["FAILED", "BACKOFF", "UNHEALTHY", "STOPPING", "STARTING", "PENDING"];

function worst(replicas: readonly Observed[]): string | null {
  const sorted = replicas.toSorted((a, b) => GRAVITY.indexOf(a.state.phase) - GRAVITY.indexOf(b.state.phase));
  return sorted[0] ? replicaReason(sorted[0]) : null;
}

/** Why one replica is not READY, in a sentence; null when it is. */
export function replicaReason({ state, attempts }: Pick<Observed, "state" | "attempts">): string | null {
  switch (state.phase) {
    case "READY":
      return null;
    case "PENDING":
      return "It is about to start.";
    case "STARTING":
      return state.lastWords
        ? `It was started and has not answered yet. ${state.lastWords}`
        : "It was started and has not answered yet; what runs through npx or uvx may be installing.";
    case "UNHEALTHY":
    case "FAILED":
    case "STOPPING":
      return state.reason;
    case "BACKOFF":
      return `${state.reason} It is started again soon (try ${attempts + 1} of ${MAX_ATTEMPTS}).`;
    case "STOPPED":
      return "It is stopped.";
  }
}

function stoppingReason(replicas: readonly Observed[]): string {
  return replicas.length === 1 ? "Its replica is stopping." : `${replicas.length} replicas are stopping.`;
}
