import type { LoggedEvent } from "@toolyard/events";
import type { Deployment, DeploymentEventPayload, HealthEventPayload, Replica } from "./deployment.ts";

/** An entity of another subgraph: its id is all that is known here. */
export interface EntityStub {
  id: string;
}

/** A replica with the deployment that it needs to be described. */
export interface ReplicaShape {
  replica: Replica;
  deployment: Deployment;
}

export type DeploymentEventShape = LoggedEvent<DeploymentEventPayload>;
export type HealthEventShape = LoggedEvent<HealthEventPayload>;
