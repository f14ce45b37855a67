import { createEventSubjects, type EventSubjects } from "@toolyard/events";
import type { Deployment, Replica } from "./deployment.ts";
import type { DeploymentStore } from "./store/deployment-store.ts";

/** The deployments of events that subscribers are told of, as of now, and their replicas: read once for all of them. */
export interface EventDeployments {
  /** A log of its own counts its own sequences. */
  readonly ofEvents: EventSubjects<Deployment>;
  readonly ofHealth: EventSubjects<Deployment>;
  /** Null for a deployment that is not from here. */
  replicasOf(deployment: Deployment): Promise<Replica[]> | null;
}

export function createEventDeployments(store: Pick<DeploymentStore, "findMany" | "replicasOf">): EventDeployments {
  const replicas = new WeakMap<Deployment, () => Promise<Replica[]>>();

  async function read(ids: readonly string[]): Promise<(Deployment | null)[]> {
    const found = new Map((await store.findMany(ids)).map((deployment) => [deployment.id, deployment]));
    let reading: Promise<Map<string, Replica[]>> | null = null;
    const readReplicas = async () =>
      Map.groupBy(await store.replicasOf([...found.keys()]), ({ deploymentId }) => deploymentId);
    for (const deployment of found.values())
      replicas.set(deployment, async () => (await (reading ??= readReplicas())).get(deployment.id) ?? []);
    return ids.map((id) => found.get(id) ?? null);
  }

  return {
    ofEvents: createEventSubjects({ read }),
    ofHealth: createEventSubjects({ read }),
    replicasOf: (deployment) => replicas.get(deployment)?.() ?? null,
  };
}
