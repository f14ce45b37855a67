import type { EventLog, LoggedEvent } from "@toolyard/events";
import {
  createLoader,
  createLoaderByArguments,
  createPageLoader,
  type Loader,
  type LoaderByArguments,
  type PageLoader,
} from "@toolyard/service-kit";
import type { Deployment, DeploymentEventPayload, HealthCheck, Replica } from "./deployment.ts";
import type { ChildFilter, DeploymentStore, ParentColumn } from "./store/deployment-store.ts";

/** One set for each operation. */
export interface Loaders {
  deployment: Loader<string, Deployment | null>;
  replicas: Loader<string, Replica[]>;
  /** Those of a tool in its environments. */
  inPlace: Loader<string, Deployment[]>;
  ofTool: PageLoader<ChildFilter, Deployment>;
  ofTemplate: PageLoader<ChildFilter, Deployment>;
  events: PageLoader<object, LoggedEvent<DeploymentEventPayload>>;
  healthChecks: LoaderByArguments<{ first: number }, HealthCheck[]>;
}

export function createLoaders(store: DeploymentStore, eventLog: EventLog<DeploymentEventPayload>): Loaders {
  const childrenOf = (column: ParentColumn) =>
    createPageLoader<ChildFilter, Deployment>({
      pages: (ids, filter, page) => store.pagesOf(column, ids, filter, page),
      counts: (ids, filter) => store.countsOf(column, ids, filter),
    });
  return {
    deployment: createLoader(async (ids) => {
      const byId = new Map((await store.findMany(ids)).map((deployment) => [deployment.id, deployment]));
      return ids.map((id) => byId.get(id) ?? null);
    }),
    replicas: createLoader(async (deploymentIds) => {
      const byDeployment = Map.groupBy(await store.replicasOf(deploymentIds), ({ deploymentId }) => deploymentId);
      return deploymentIds.map((id) => byDeployment.get(id) ?? []);
    }),
    inPlace: createLoader(async (toolIds) => {
      const byTool = Map.groupBy(await store.inPlace(toolIds), ({ toolId }) => toolId);
      return toolIds.map((id) => byTool.get(id) ?? []);
    }),
    ofTool: childrenOf("toolId"),
    ofTemplate: childrenOf("templateId"),
    events: createPageLoader({
      pages: (ids, _filter, page) => eventLog.historiesOf(ids, page),
      counts: (ids) => eventLog.countsOf(ids),
    }),
    healthChecks: createLoaderByArguments(
      (ids, { first }) => store.healthChecksOf(ids, first),
      ({ first }) => first,
    ),
  };
}
