import type { Runtime } from "@toolyard/runtimes/runtime.ts";
import type { Gauge } from "@toolyard/service-kit";
import type { DeploymentRecord } from "./store/deployment-store.ts";

/** Deployments that are told apart: the oldest that run. */
export const MAX_DEPLOYMENTS = 200;
const REST = "other deployments";

/** The names of deployments that are told apart, by their ids. */
function namesOf(running: readonly DeploymentRecord[]): ReadonlyMap<string, string> {
  const oldest = running.map(({ deployment }) => deployment).toSorted((one, other) => (one.id < other.id ? -1 : 1));
  return new Map(oldest.slice(0, MAX_DEPLOYMENTS).map(({ id, name }) => [id, name]));
}

/** How many requests were refused to each deployment's replicas, as their runtimes count them. */
export function egressGauges(
  running: readonly DeploymentRecord[],
  runtimes: Iterable<Pick<Runtime, "egressRefusals">>,
): Gauge[] {
  const names = namesOf(running);
  // There from the start, for those who look for changes.
  const counts = new Map([[REST, 0]]);
  for (const { egressRefusals } of runtimes)
    for (const [id, count] of egressRefusals?.() ?? []) {
      const name = names.get(id) ?? REST;
      counts.set(name, (counts.get(name) ?? 0) + count);
    }
  return [...counts].map(([deployment, value]) => ({
    name: "mcp_egress_refused_total",
    help: "Requests of replicas to hosts that their launch's egress list does not have.",
    labels: { deployment },
    value,
  }));
}

/** How many replicas of each deployment answer, and how many do not. Names are Toolyard's own, and go with their deployments. */
export function replicaGauges(running: readonly DeploymentRecord[]): Gauge[] {
  const names = namesOf(running);
  const counts = new Map<string, { ready: number; not_ready: number }>();
  for (const { deployment, replicas } of running) {
    const name = names.get(deployment.id) ?? REST;
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
