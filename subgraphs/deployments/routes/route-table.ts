import { callOptionsSchema } from "@toolyard/launch";
import type { Route, RouteTarget } from "@toolyard/routes";
import type { Deployment, Replica } from "../deployment.ts";
import type { DeploymentRecord } from "../store/deployment-store.ts";
import type { Callee } from "@toolyard/runtimes/endpoint/connector.ts";
import { mcpPathOf } from "../deploying/deployed-launch.ts";
import type { Candidates, Place } from "./route-store.ts";

/** Unseals the headers that a proxy must send to reach a replica. Throws when they cannot be opened. */
export interface RouteSecrets {
  calleeOf(deployment: Deployment, replica: Replica): Callee;
  headersOf(deployment: Deployment): Record<string, string>;
  urlOf(deployment: Deployment): URL | null;
  /** Receives the error. Answers why nothing can be sent, in a sentence. */
  noteUnopened(deployment: Deployment, error: unknown): string;
}

/** The key of a deployment's own route, by its name. */
export function ownKey({ id }: Pick<Deployment, "id">): string {
  return id;
}

/** The key of the route that a tool's deployments in an environment share. */
export function sharedKey({ toolId, environment }: Place): string {
  return `${toolId}/${environment}`;
}

/** The route of one deployment by its name; null when it is not to run. */
export function ownRoute(record: DeploymentRecord, secrets: RouteSecrets): Route | null {
  const { deployment } = record;
  if (deployment.desired !== "RUN") return null;
  return toRoute(record, { key: ownKey(deployment), ref: deployment.name }, secrets);
}

/**
 * The route of a tool in an environment. It leads to the active deployment or, while that serves nothing, to one that waits to replace it,
 * so that the reason is the newest. Where nothing is to run, it names `stopped`; null when there is no such deployment.
 */
export function sharedRoute(
  place: Place,
  {
    candidates,
    stopped,
    recordOf,
  }: {
    candidates: Candidates | undefined;
    stopped: Deployment | null;
    recordOf: (id: string) => DeploymentRecord | undefined;
  },
  secrets: RouteSecrets,
): Route | null {
  const name = { key: sharedKey(place), ref: place.environment === "PRODUCTION" ? "" : "staging" };
  if (!candidates) return stopped && toRoute({ deployment: stopped, replicas: [] }, name, secrets);
  const [active, starting, newest] = [candidates.active, candidates.starting, candidates.newest].map((id) =>
    id === null ? undefined : recordOf(id),
  );
  const serves = active !== undefined && targetsOf(active.replicas).length > 0;
  // No replica of the active one answers: report the coming one, if any.
  const chosen = serves ? active : (starting ?? active ?? newest);
  return chosen ? toRoute(chosen, name, secrets) : null;
}

function targetsOf(replicas: readonly Replica[]): Replica[] {
  return replicas.filter(({ state }) => state.phase === "READY" || state.phase === "UNHEALTHY");
}

function toRoute(
  { deployment, replicas }: DeploymentRecord,
  name: Pick<Route, "key" | "ref">,
  secrets: RouteSecrets,
): Route {
  const { launch } = deployment;
  let targets: RouteTarget[] = [];
  let unopened: string | null = null;
  try {
    targets = openTargets({ deployment, replicas }, secrets);
  } catch (error) {
    // All other routes are good.
    unopened = `${deployment.toolSlug} cannot be called. ${secrets.noteUnopened(deployment, error)}`;
  }
  return {
    ...name,
    slug: deployment.toolSlug,
    toolId: deployment.toolId,
    deploymentId: deployment.id,
    digest: deployment.digest,
    weight: deployment.trafficWeight,
    options: callOptionsSchema.parse(launch.options),
    mcpPath: mcpPathOf(launch),
    paths: launch.kind === "remote" ? launch.paths : null,
    approvedToolsHash: null,
    stateReason: unopened ?? stateReason(deployment),
    awaited: unopened === null && isAwaited(deployment),
    autoscaled: deployment.autoscale !== null && deployment.desired === "RUN",
    balance: deployment.balance,
    offer: launch.kind === "stdio" && deployment.autoscale !== null ? deployment.offerHash : null,
    targets,
  };
}

function openTargets({ deployment, replicas }: DeploymentRecord, secrets: RouteSecrets): RouteTarget[] {
  const called = targetsOf(replicas);
  if (called.length === 0) return [];
  const headers = Object.entries(secrets.headersOf(deployment)).map(([name, value]) => ({ name, value }));
  const url = secrets.urlOf(deployment);
  const mcpTarget = url === null ? "" : `${url.pathname}${url.search}`;
  return called
    .map((replica) => ({
      replicaId: replica.id,
      ...secrets.calleeOf(deployment, replica),
      ready: replica.state.phase === "READY" && replica.state.retiringSince === undefined,
      headers,
      mcpTarget,
      remote: deployment.launch.kind === "remote",
    }))
    .filter((target) => target.url !== "");
}

function isAwaited({ status, desiredReplicas, autoscale }: Deployment): boolean {
  return (desiredReplicas > 0 || autoscale !== null) && (status === "STARTING" || status === "RUNNING");
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
