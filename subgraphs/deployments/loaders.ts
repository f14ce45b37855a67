import DataLoader from "dataloader";
import type { Deployment, Replica } from "./deployment.ts";
import type { DeploymentStore } from "./deployment-store.ts";

/** One set for each operation. */
export interface Loaders {
  deployment: DataLoader<string, Deployment | null>;
  replicas: DataLoader<string, Replica[]>;
  /** Those of a tool that are to run, newest first. */
  toolDeployments: DataLoader<string, Deployment[]>;
}

export function createLoaders(store: DeploymentStore): Loaders {
  return {
    deployment: new DataLoader(async (ids) => {
      const byId = new Map((await store.findMany(ids)).map((deployment) => [deployment.id, deployment]));
      return ids.map((id) => byId.get(id) ?? null);
    }),
    replicas: new DataLoader(async (deploymentIds) => {
      const byDeployment = Map.groupBy(await store.replicasOf(deploymentIds), ({ deploymentId }) => deploymentId);
      return deploymentIds.map((id) => byDeployment.get(id) ?? []);
    }),
    toolDeployments: new DataLoader(async (toolIds) => {
      const byTool = Map.groupBy(await store.ofTools(toolIds), ({ toolId }) => toolId);
      return toolIds.map((id) => byTool.get(id) ?? []);
    }),
  };
}
