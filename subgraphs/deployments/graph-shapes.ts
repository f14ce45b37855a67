import type { LoggedEvent } from "@toolyard/events";
import type { Deployment, DeploymentEventPayload, HealthCheck, HealthEventPayload, Replica } from "./deployment.ts";

/** An entity of another subgraph: its id is all that is known here. */
export interface EntityStub {
  id: string;
}

/** A version, with what was required of the tools subgraph. */
export interface VersionShape extends EntityStub {
  toolId?: string;
  digest?: string;
}

/** An item of a server's lists, whatever it holds. */
export type OfferedItem = Record<string, unknown>;

/** A replica with the deployment that it needs to be described. */
export interface ReplicaShape {
  replica: Replica;
  deployment: Deployment;
}

/** Where the deployment is at hand, or read for all who subscribe. */
interface OfDeployment {
  deployment?: () => Promise<Deployment | null>;
}

type EventShape<Payload> = LoggedEvent<Payload> & OfDeployment;
export type DeploymentEventShape = EventShape<DeploymentEventPayload>;
export type HealthCheckShape = HealthCheck & OfDeployment;
export type HealthEventShape = EventShape<HealthEventPayload>;
