import type { Gauge } from "@toolyard/service-kit";
import type { DeploymentRecord } from "./store/deployment-store.ts";

/** Deployments that are told apart: the oldest that run. */
export const MAX_DEPLOYMENTS = 200;
const REST = "other deployments";

/** How many replicas of each deployment answer, and how many do not. Names are Toolyard's own, and go with their deployments. */
export function replicaGauges(running: readonly DeploymentRecord[]): Gauge[] {
  const named = new Set(
    running
      .map(({ deployment }) => deployment)
      .toSorted((one, other) => (one.id < other.id ? -1 : 1))
      .slice(0, MAX_DEPLOYMENTS)
      .map(({ id }) => id),
  );
  const counts = new Map<string, { ready: number; not_ready: number }>();
  for (const { deployment, replicas } of running) {
    const name = named.has(deployment.id) ? deployment.name : REST;
    const count = counts.get(name) ?? { ready: 0, not_ready: 0 };
    for (const { state } of replicas) count[state.phase === "READY" ? "ready" : "not_ready"] += 1;
    counts.set(name, count);
  }
  return [...counts].flatMap(([deployment, count]) =>
    (["ready", "not_ready"] as const).map((state) => ({
      name: "mcp_deployment_replicas",
      help: `Replicas of each deployment (${MAX_DEPLOYMENTS} of them) that answer, and that do not.`,
      labels: { deployment, state },
      value: count[state],
    })),
  );
}
