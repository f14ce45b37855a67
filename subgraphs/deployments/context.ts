import type { RequestContext, ToolLookup } from "@toolyard/service-kit";
import type { BusyReplicas } from "./busy-replicas.ts";
import type { DeploymentService } from "./deployment-service.ts";
import type { EventDeployments } from "./event-deployments.ts";
import type { Inspection } from "./inspection.ts";
import type { OperationInterfaces } from "./interfaces/interface-service.ts";
import type { Load } from "./load.ts";
import type { Loaders } from "./loaders.ts";
import type { LogService } from "./logs/log-service.ts";
import type { RouteFeed } from "./routes/route-feed.ts";
import type { SessionCounter } from "./session-counter.ts";
import type { DeploymentUrls } from "./deployment-urls.ts";
import type { UsageLoader } from "./usage/usage-loader.ts";
import type { UsageService } from "./usage/usage-service.ts";

/** The resolvers' context: the caller and the services. */
export interface Context extends RequestContext {
  loaders: Loaders;
  tools: ToolLookup;
  deployments: DeploymentService;
  eventDeployments: EventDeployments;
  logs: LogService;
  inspection: Inspection;
  usage: UsageService;
  usageOf: UsageLoader;
  interfaces: OperationInterfaces;
  routes: RouteFeed;
  busyReplicas: BusyReplicas;
  load: Load;
  urls: DeploymentUrls;
  /** MCP sessions that are open in a replica now. */
  sessionsOf: SessionCounter;
}
