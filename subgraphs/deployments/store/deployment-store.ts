import type { Page, Rows } from "@toolyard/service-kit";
import type { LongWork } from "@toolyard/storage";
import type { Deployment, DeploymentStatus, Environment, HealthCheck, Replica } from "../deployment.ts";
import type { InterfaceWrite } from "../interfaces/interface-store.ts";

export interface DeploymentRecord {
  deployment: Deployment;
  /** By ordinal. Stopped ones are not kept. */
  replicas: Replica[];
}

export interface DeploymentFilter {
  toolId?: string | undefined;
  templateId?: string | undefined;
  /** True: only those whose tool was made of a template. */
  ofTemplate?: boolean | undefined;
  status?: DeploymentStatus | undefined;
  environment?: Environment | undefined;
  /** False leaves out FAILED deployments. */
  includeFailed?: boolean | undefined;
}

/** The parents of deployments. */
export type ParentColumn = "toolId" | "templateId";
export type ChildFilter = Pick<DeploymentFilter, "environment">;

/** An event of a deployment; its environment, tool and status as of then are taken from the deployment. */
export interface DeploymentEventDraft {
  kind: string;
  message: string;
  words?: string | null;
  data?: Record<string, unknown>;
  /** The user who asked for it: only for the log. */
  by?: string | null;
}

/** A probe that found a replica as it was before. */
export interface QuietProbe {
  replicaId: string;
  /** Of the process that was asked. */
  incarnation: number;
  check: HealthCheck;
}

/** One write transaction. Reads in it see its own writes. */
export interface DeploymentTransaction {
  load(id: string): Promise<DeploymentRecord | null>;
  /** Whether a deployment has the tool's route in the environment. */
  hasActive(toolId: string, environment: Environment): Promise<boolean>;
  /** Ids of the tool's deployments in the environment that are to run and were made before this one; in order. */
  runningBefore(deployment: Deployment): Promise<string[]>;
  insertDeployment(deployment: Deployment): Promise<void>;
  /** @throws PortTakenError when another replica of the host holds the port. */
  insertReplica(replica: Replica): Promise<void>;
  saveDeployment(deployment: Deployment): Promise<void>;
  /** Writes the row, or removes it when the replica is STOPPED. @throws PortTakenError as above. */
  saveReplica(replica: Replica): Promise<void>;
  /** With `announce` subscribers learn of it. */
  recordCheck(deployment: Deployment, check: HealthCheck, announce: boolean): Promise<void>;
  /** Whether it was written: as `saveInterface` of the interfaces. */
  saveInterface(write: InterfaceWrite): Promise<boolean>;
  /** Appended when the work is done, with the deployment's status as given here. */
  emit(deployment: Deployment, events: readonly DeploymentEventDraft[]): void;
}

/** A port that was free when it was chosen is held by another replica now. Choose again. */
export class PortTakenError extends Error {
  readonly hostId: string;
  constructor(hostId: string, options: { cause: unknown }) {
    super("Another replica holds this port.", options);
    this.name = "PortTakenError";
    this.hostId = hostId;
  }
}

type Enter = NonNullable<LongWork["enter"]>;

/** Deployments, their replicas and health checks. Its answers are committed. */
export interface DeploymentStore {
  /** With `enter` first, which throws where its caller may not write any more. */
  transaction<Result>(work: (tx: DeploymentTransaction) => Promise<Result>, enter?: Enter): Promise<Result>;
  find(id: string): Promise<Deployment | null>;
  findByName(name: string): Promise<Deployment | null>;
  /** Those in place of the tool with this slug, as `inPlace`, or the last that ran. */
  ofSlug(slug: string): Promise<Deployment[]>;
  /** Names of deployments and their tools' slugs, the newest first. */
  newestNames(limit: number): Promise<Pick<Deployment, "name" | "toolSlug">[]>;
  findMany(ids: readonly string[]): Promise<Deployment[]>;
  load(id: string): Promise<DeploymentRecord | null>;
  page(filter: DeploymentFilter, page: Page): Rows<Deployment>;
  /** A page of each tool or template, one more than its limit where there are more. */
  pagesOf(parents: ParentColumn, ids: readonly string[], filter: ChildFilter, page: Page): Promise<Deployment[][]>;
  countsOf(parents: ParentColumn, ids: readonly string[], filter: ChildFilter): Promise<number[]>;
  /** For each environment in which something of a tool is to run: the deployment that has its route, or else the newest. */
  inPlace(toolIds: readonly string[]): Promise<Deployment[]>;
  /** Ids of the tool's deployments that are to run. */
  runningOf(toolId: string): Promise<string[]>;
  replicasOf(deploymentIds: readonly string[]): Promise<Replica[]>;
  /** Deployments and their replicas, of those ids that there are; in the ids' order. */
  loadMany(ids: readonly string[]): Promise<DeploymentRecord[]>;
  /** Which deployments may need work, by id, and how often each was written. */
  unsettled(): Promise<Pick<Deployment, "id" | "revision">[]>;
  /** Of all hosts that have replicas. */
  hostIds(): Promise<string[]>;
  portsInUse(hostId: string): Promise<Set<number>>;
  /** How many replicas each of these hosts has. */
  replicaCounts(hostIds: readonly string[]): Promise<Map<string, number>>;
  /** Of each deployment the newest first, at most 100. */
  healthChecksOf(deploymentIds: readonly string[], limit: number): Promise<HealthCheck[][]>;
  /**
   * In one transaction, and neither an event nor a new revision: what each deployment and replica say of their last check, and the checks.
   * Those of a process that its replica no longer has are left out.
   */
  recordQuietProbes(probes: readonly QuietProbe[], enter?: Enter): Promise<void>;
  /** Removes health checks older than `before`, in epoch milliseconds: those of replicas that are not probed any more. */
  trimHealthChecks(before: number, work?: LongWork): Promise<number>;
  countByStatus(): Promise<Map<DeploymentStatus, number>>;
  /** Those that failed for good before `before`, and whose processes' folders and logs are still in their runtime; by id, after one. */
  failedWithRemains(which: { before: number; after: string; limit: number }): Promise<DeploymentRecord[]>;
}
