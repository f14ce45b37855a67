import type { Deployment, Replica } from "../deployment.ts";
import type { DeploymentRecord } from "../deployment-store.ts";
import type { Callee } from "@toolyard/runtimes/endpoint/connector.ts";
import { mcpPathOf } from "../launch-spec.ts";

export interface RouteTarget extends Callee {
  replicaId: string;
  ready: boolean;
  /** Headers to send, of a remote launch. Secret. */
  headers: { name: string; value: string }[];
  /** Path and query of a remote launch's MCP endpoint; "" where they are the route's. Secret. */
  mcpTarget: string;
  /** Elsewhere than on Toolyard's hosts: the proxy keeps to public addresses unless the operator allows private ones. */
  remote: boolean;
}

export interface Route {
  slug: string;
  /** "" for production, "staging", or one deployment's name. */
  ref: string;
  toolId: string;
  deploymentId: string;
  digest: string;
  weight: number;
  timeoutSeconds: number;
  maxConcurrentCalls: number | null;
  mcpPath: string;
  /** Besides `mcpPath`; null: all. */
  paths: string[] | null;
  enforceApproval: boolean;
  approvedToolsHash: string | null;
  /** Why nothing answers, in a sentence; null while something does. */
  stateReason: string | null;
  /** Whether nothing answers only for now. */
  awaited: boolean;
  targets: RouteTarget[];
}

/** Opens what a proxy must send to reach a replica. */
export interface RouteSecrets {
  calleeOf(deployment: Deployment, replica: Replica): Callee;
  headersOf(deployment: Deployment): Record<string, string>;
  urlOf(deployment: Deployment): URL | null;
}

/**
 * The routes that these deployments give: one for each that is to run, by its name, and one for each tool and environment. That
 * one is of the deployment that has it; while it serves nothing, of one that waits for it, so that the reason is the newest.
 * `stopped`: of tools without one that is to run, so that a proxy can say so.
 */
export function buildRoutes(
  records: readonly DeploymentRecord[],
  stopped: readonly Deployment[],
  secrets: RouteSecrets,
): Route[] {
  const live = records.filter(({ deployment }) => deployment.desired === "RUN");
  const own = live.map((record) => toRoute(record, record.deployment.name, secrets));
  const shared = [
    ...Map.groupBy(live, ({ deployment }) => `${deployment.toolId}/${deployment.environment}`).values(),
  ].flatMap((group) => {
    const chosen = choose(group);
    return chosen ? [toRoute(chosen, refOf(chosen.deployment), secrets)] : [];
  });
  const gone = stopped.map((deployment) => toRoute({ deployment, replicas: [] }, refOf(deployment), secrets));
  return [...shared, ...own, ...gone];
}

function refOf({ environment }: Deployment): string {
  return environment === "PRODUCTION" ? "" : "staging";
}

function choose(group: readonly DeploymentRecord[]): DeploymentRecord | undefined {
  const newestFirst = group.toSorted((a, b) => (a.deployment.id < b.deployment.id ? 1 : -1));
  const active = newestFirst.find(({ deployment }) => deployment.role === "ACTIVE");
  if (active && targetsOf(active.replicas).length > 0) return active;
  // Nothing of the active one answers: tell of what is coming, if anything is.
  return newestFirst.find(({ deployment }) => deployment.status === "STARTING") ?? active ?? newestFirst[0];
}

function targetsOf(replicas: readonly Replica[]): Replica[] {
  return replicas.filter(({ state }) => state.phase === "READY" || state.phase === "UNHEALTHY");
}

function toRoute({ deployment, replicas }: DeploymentRecord, ref: string, secrets: RouteSecrets): Route {
  const { launch } = deployment;
  const remote = launch.kind === "remote";
  const headers = Object.entries(remote && replicas.length > 0 ? secrets.headersOf(deployment) : {}).map(
    ([name, value]) => ({ name, value }),
  );
  const url = replicas.length > 0 ? secrets.urlOf(deployment) : null;
  const mcpTarget = url === null ? "" : `${url.pathname}${url.search}`;
  return {
    slug: deployment.toolSlug,
    ref,
    toolId: deployment.toolId,
    deploymentId: deployment.id,
    digest: deployment.digest,
    weight: deployment.trafficWeight,
    timeoutSeconds: launch.options.timeoutSeconds,
    maxConcurrentCalls: launch.options.maxConcurrentCalls,
    mcpPath: mcpPathOf(launch),
    paths: remote ? (launch.paths ?? []) : null,
    enforceApproval: launch.options.enforceApproval,
    approvedToolsHash: null,
    stateReason: stateReason(deployment),
    awaited: isAwaited(deployment),
    targets: targetsOf(replicas)
      .map((replica) => ({
        replicaId: replica.id,
        ...secrets.calleeOf(deployment, replica),
        ready: replica.state.phase === "READY",
        headers,
        mcpTarget,
        remote,
      }))
      .filter(({ url }) => url !== ""),
  };
}

function isAwaited({ status, desiredReplicas }: Deployment): boolean {
  return desiredReplicas > 0 && (status === "STARTING" || status === "RUNNING");
}

function stateReason({ status, health, reason, toolSlug }: Deployment): string | null {
  const detail = reason === null ? "" : ` ${reason}`;
  switch (status) {
    case "RUNNING":
      return health === "HEALTHY" || health === "DEGRADED" ? null : `${toolSlug} does not answer.${detail}`;
    case "STARTING":
      return `${toolSlug} is starting.${detail}`;
    case "FAILED":
      return `${toolSlug} failed to run.${detail}`;
    case "STOPPING":
    case "STOPPED":
      return `${toolSlug} is stopped.`;
  }
}
