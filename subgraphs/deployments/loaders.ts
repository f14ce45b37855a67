import type { EventLog, LoggedEvent } from "@toolyard/events";
import {
  createLoaderByArguments,
  createPageLoader,
  ROWS_AT_ONCE,
  type LoaderByArguments,
  type PageLoader,
} from "@toolyard/service-kit";
import DataLoader from "dataloader";
import type { Deployment, DeploymentEventPayload, HealthCheck, Replica } from "./deployment.ts";
import type { ChildFilter, DeploymentStore, ParentColumn } from "./store/deployment-store.ts";

/** One set for each operation. */
export interface Loaders {
  deployment: DataLoader<string, Deployment | null>;
  replicas: DataLoader<string, Replica[]>;
  /** Those of a tool in its environments. */
  inPlace: DataLoader<string, Deployment[]>;
  ofTool: PageLoader<ChildFilter, Deployment>;
  ofTemplate: PageLoader<ChildFilter, Deployment>;
  events: PageLoader<object, LoggedEvent<DeploymentEventPayload>>;
  healthChecks: LoaderByArguments<{ first: number }, HealthCheck[]>;
}

const AT_ONCE = { maxBatchSize: ROWS_AT_ONCE };

export function createLoaders(store: DeploymentStore, eventLog: EventLog<DeploymentEventPayload>): Loaders {
  const childrenOf = (column: ParentColumn) =>
    createPageLoader<ChildFilter, Deployment>({
      pages: (ids, filter, page) => store.pagesOf(column, ids, filter, page),
      counts: (ids, filter) => store.countsOf(column, ids, filter),
    });
  return {
    deployment: new DataLoader(async (ids) => {
      const byId = new Map((await store.findMany(ids)).map((deployment) => [deployment.id, deployment]));
      return ids.map((id) => byId.get(id) ?? null);
    }, AT_ONCE),
    replicas: new DataLoader(async (deploymentIds) => {
      const byDeployment = Map.groupBy(await store.replicasOf(deploymentIds), ({ deploymentId }) => deploymentId);
      return deploymentIds.map((id) => byDeployment.get(id) ?? []);
    }, AT_ONCE),
    inPlace: new DataLoader(async (toolIds) => {
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
