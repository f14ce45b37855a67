import type { Deployment, Environment } from "../deployment.ts";

/** A tool in an environment: it has one route that its deployments share. */
export interface Place {
  toolId: string;
  environment: Environment;
}

/** Of the deployments that are to run at a place those that its route may be of, by id. */
export interface Candidates extends Place {
  newest: string;
  /** The newest that is ACTIVE. */
  active: string | null;
  /** The newest that is STARTING. */
  starting: string | null;
}

/** A place where nothing is to run any more, with the deployment that was the last. */
export interface LastStopped extends Place {
  deploymentId: string;
}

/** The sources of routes. Each query reads only as many rows as it answers, however many there are. */
export interface RouteStore {
  /** Deployments that are to run, by id, after this one. */
  runningAfter(id: string, limit: number): Promise<Deployment[]>;
  /** Of the environments of these tools in which something is to run. */
  candidates(toolIds: readonly string[]): Promise<Candidates[]>;
  /** Of these tools. */
  stoppedOf(toolIds: readonly string[]): Promise<LastStopped[]>;
  /** From this deployment on, by id; up to one when given, which is left out. */
  stoppedFrom(deploymentId: string, limit: number, before?: string): Promise<LastStopped[]>;
  /** The deployment from which on there are `count`; "" where there are not that many. */
  stoppedFloor(count: number): Promise<string>;
}
