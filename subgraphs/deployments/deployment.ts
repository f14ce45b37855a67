import { randomInt } from "node:crypto";
import type { Balance } from "@toolyard/routes/balances.ts";
import type { ReplicaHandle, RuntimeKind } from "@toolyard/runtimes/runtime.ts";
import type { DeployedLaunch } from "./deploying/deployed-launch.ts";
import type { Reason } from "./reason.ts";

export const ENVIRONMENTS = ["STAGING", "PRODUCTION"] as const;
export type Environment = (typeof ENVIRONMENTS)[number];
export const DEPLOYMENT_STATUSES = ["STARTING", "RUNNING", "STOPPING", "STOPPED", "FAILED"] as const;
export type DeploymentStatus = (typeof DEPLOYMENT_STATUSES)[number];
export type HealthStatus = "HEALTHY" | "DEGRADED" | "UNHEALTHY" | "UNKNOWN";

/** The bounds between which a deployment is scaled by load. */
export interface Autoscale {
  min: number;
  max: number;
  targetConcurrentCalls: number;
  idleSeconds: number;
}

/** A deployment's desired and actual state. `status`, `health`, `reason` and `words` are derived from the replicas, never assumed. */
export interface Deployment {
  id: string;
  /** Unique: the tool's slug and a short suffix. */
  name: string;
  toolId: string;
  toolSlug: string;
  toolVersionId: string;
  versionNumber: number;
  /** The tool's author when it was deployed: who may change this deployment besides administrators. */
  ownerId: string | null;
  templateId: string | null;
  digest: string;
  environment: Environment;
  runtime: RuntimeKind;
  /** As the tools service handed it out: secret values still sealed, with the version's id as context. */
  launch: DeployedLaunch;
  /** The configuration as clients see it: null where the schema says writeOnly. */
  configuration: Record<string, unknown> | null;
  /** The whole configuration, sealed with the deployment's id as context. */
  sealedConfiguration: string | null;

  desired: "RUN" | "STOP";
  desiredReplicas: number;
  /** Null: `desiredReplicas` is what a user asked for. */
  autoscale: Autoscale | null;
  balance: Balance;
  /** Rises with each restart that was asked for; replicas of an earlier one are replaced. */
  generation: number;
  /** ACTIVE has the tool's route in its environment (at most one that is to run), PENDING waits to take it over, RETIRED had it. */
  role: "PENDING" | "ACTIVE" | "RETIRED";

  status: DeploymentStatus;
  health: HealthStatus;
  reason: string | null;
  /** What the server said of it: `words` of a Reason. */
  words: string | null;
  /** Whether a replica was READY since this was deployed, or since it was started afresh. */
  everReady: boolean;
  /** Of what its server offered last, as `offerHash` of the interfaces; null: not known. */
  offerHash: string | null;

  trafficWeight: number;
  deployedById: string | null;
  createdAt: number;
  /** When it first answered. */
  deployedAt: number | null;
  stoppedAt: number | null;
  lastHealthCheckAt: number | null;
  /** Since when there is nothing to do about it and nothing to watch: it ended. Null while there is. Derived. */
  settledAt: number | null;
  /** Rises each time that it or one of its replicas is written, but for what a probe that changes nothing leaves. */
  revision: number;
}

/** What is true of every deployment before anything happened to it. */
const unstarted = {
  desired: "RUN",
  generation: 1,
  role: "ACTIVE",
  status: "STARTING",
  health: "UNKNOWN",
  reason: null,
  words: null,
  everReady: false,
  offerHash: null,
  trafficWeight: 100,
  deployedAt: null,
  stoppedAt: null,
  lastHealthCheckAt: null,
  settledAt: null,
  revision: 0,
} satisfies Partial<Deployment>;

/** A deployment that was just asked for; its name is the tool's slug and a suffix. */
export function newDeployment(asked: Omit<Deployment, keyof typeof unstarted | "name">): Deployment {
  return { ...unstarted, ...asked, name: `${asked.toolSlug}-${suffix()}` };
}

/** What becomes of a replica once its process is gone: nothing is left, it starts anew, or it failed and is tried again. */
export type AfterStop = "REMOVE" | "RESTART" | "RETRY";

export type ReplicaState =
  /** A reason where it waits for a host. */
  | ({ phase: "PENDING" } & Partial<Reason> & Refusals)
  /** A reason while it takes its time, or after a failed start; `waitsFor`: what is done before it runs, in a sentence. */
  | ({ phase: "STARTING"; since: number; waitsFor?: string } & Partial<Reason> & Refusals)
  /** With `retiringSince` it takes no new calls, and stops once those that it has, and its sessions, have ended. */
  | { phase: "READY"; since: number; retiringSince?: number }
  | ({ phase: "UNHEALTHY"; since: number; failures: number; successes: number } & Reason)
  /** `most`: the tries before it is FAILED, where those are not its deployment's. */
  | ({ phase: "BACKOFF"; until: number; most?: number } & Reason)
  | ({ phase: "STOPPING"; since: number; then: AfterStop } & Reason)
  | { phase: "STOPPED" }
  | ({ phase: "FAILED" } & Reason & Refusals);

/** Where a launch cannot be run, as where its command is not there, and others are known that have not refused it so far. */
interface Refusals {
  /** The ids of the hosts that did. */
  refusedBy?: string[];
}

export type ReplicaPhase = ReplicaState["phase"];

/** One place of a deployment. It outlives the processes that run in it, one after the other. */
export interface Replica {
  id: string;
  deploymentId: string;
  ordinal: number;
  /** Whose process it is: only this host's deployments process starts and stops it. */
  hostId: string;
  /** Where the host is reached. */
  address: string;
  /** Reserved for it until it is stopped; null when it needs none, and once it failed. */
  port: number | null;
  /** The deployment's generation that its process was started for. */
  generation: number;
  /** Counts its processes: part of the name by which a repeated start finds the first. */
  incarnation: number;
  state: ReplicaState;
  /** Starts in a row that came to nothing. */
  attempts: number;
  restarts: number;
  /** The process that runs or ran last. */
  handle: ReplicaHandle | null;
  /** The one before, for its logs. */
  previousHandle: ReplicaHandle | null;
  /** The bearer token of its latest start, sealed with its id as context; "" before the first. */
  sealedToken: string;
  startedAt: number | null;
  lastProbeAt: number | null;
}

export interface HealthCheck {
  id: string;
  deploymentId: string;
  replicaId: string | null;
  at: number;
  status: HealthStatus;
  /** The kind of check: `mcp tools/list`, `GET /ready`, `process`. */
  kind: string;
  latencyMs: number;
  /** Why it failed; `words` as of a Reason. */
  detail: string | null;
  words: string | null;
}

/** What a deployment's event says for good; sequence, time, kind and deployment are the log's own columns. */
export interface DeploymentEventPayload {
  toolId: string;
  environment: Environment;
  status: DeploymentStatus;
  health: HealthStatus;
  message: string;
  /** What the server said of it: `words` of a Reason. */
  words?: string | null;
  data: Record<string, unknown> | null;
}

export interface HealthEventPayload {
  toolId: string;
  check: HealthCheck;
}

/** The name by which a runtime knows a replica's process. */
export function processNameOf(
  deployment: Pick<Deployment, "name">,
  replica: Pick<Replica, "ordinal" | "incarnation">,
): string {
  return `${deployment.name}-${replica.ordinal}-${replica.incarnation}`;
}

const SUFFIX_LENGTH = 5;
const SUFFIX_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789";

/** Short, and not to be guessed from the one before. 60 million of them: one that is taken already fails the insert. */
function suffix(): string {
  return Array.from({ length: SUFFIX_LENGTH }, () => SUFFIX_LETTERS[randomInt(SUFFIX_LETTERS.length)]).join("");
}
