/**
 * The port to where replicas run. Narrow on purpose: the reconciler decides, a runtime only does and reports.
 * One contract suite (`runtime.contract.ts`) holds every adapter to it.
 */

import type { Launch, LaunchKind, LaunchOptions } from "@toolyard/launch/launch.ts";

/** The graph's name of a runtime: its name in `registry.ts`, in capitals. */
export type RuntimeKind = string;

/** What a replica runs: its launch with configuration put in and secrets opened. Never logged. */
export type ReplicaLaunch =
  | (Resolved<"stdio"> & {
      /** Seconds until the first byte of an answer, or between bytes. */
      timeoutSeconds: number;
      /** Seconds until the server has answered `initialize`. */
      startTimeoutSeconds: number;
    })
  | Resolved<"http">
  | Resolved<"image">
  /** At the origin `url`; how it is called there is in the deployment. */
  | { kind: "remote"; url: string };

type Resolved<Kind extends LaunchKind> = Omit<
  Extract<Launch, { kind: Kind }>,
  "env" | "escapes" | "options" | "path"
> & {
  env: Record<string, string>;
};

export type ReplicaResources = NonNullable<LaunchOptions["resources"]>;

export interface ReplicaSpec {
  replicaId: string;
  deploymentId: string;
  /** Whose deployment it is: replicas of two users share nothing that either can write. */
  userId: string;
  /** Deterministic, from deployment, ordinal and generation, `[a-z0-9-]`: a start that is repeated finds the first. */
  name: string;
  launch: ReplicaLaunch;
  /** Where this host's replicas are reached; a loopback address where only from this host. */
  host: string;
  /** The port that the reconciler has reserved on it; null for what `needsPort` says needs none. */
  port: number | null;
  /** This start's own bearer token: a bridge refuses calls without it. Secret. */
  token: string;
  /** What must not be read in what the replica prints; hidden where that passes through the bridge. Secret. */
  secrets: readonly string[];
  /** Null: the runtime's default, or no limit where it has none. */
  resources: ReplicaResources;
  /** What the launch says of probes and calls, for what is probed by its platform, too, and of the hosts that it may reach. */
  options?: LaunchOptions;
}

/** Enough to find the replica again after a restart of the control plane. JSON; kept in the store. No secrets. */
export interface ReplicaHandle {
  runtime: RuntimeKind;
  name: string;
  /** The adapter's own identity for it: pid and start time, container id, pod name. */
  identity: Record<string, string | number>;
  endpoint: ReplicaEndpoint;
}

/** Where a replica answers. */
interface ReplicaEndpoint {
  /** `http://host:port`, or `unix:` and the path of a socket. */
  url: string;
  /** Whose the listener there must be (`endpoint/listener.ts`); null where nobody else can have it. */
  owner: string | null;
}

export type ReplicaLiveness =
  | { alive: true; startedAt: number }
  /** `exitCode` and `signal` are null where they cannot be known (an adopted process that ended while nobody looked). */
  | {
      alive: false;
      exitCode: number | null;
      signal: string | null;
      detail: string | null;
      /** Why, in a sentence, where the runtime knows more than that. */
      why?: string;
    };

export interface ReplicaLogLine {
  /** Epoch milliseconds. */
  at: number;
  stream: "STDOUT" | "STDERR" | "SYSTEM";
  text: string;
}

export interface RuntimeCapabilities {
  /** Which launches it can run. */
  launches: ReplicaLaunch["kind"][];
  /** The most replicas of one deployment, with the reason as a clause; null: as many as Toolyard allows. */
  maxReplicas: { count: number; why: string } | null;
  /**
   * HOST: on the host whose process started them. When that is lost, they are started on another. ELSEWHERE: where every host reaches them alike, and
   * another goes on with them as they are.
   */
  location: "HOST" | "ELSEWHERE";
  /** Whether it can hold a replica to the hosts of its launch's `egress`. */
  egress: boolean;
  /** Whether replicas outlive the control plane and can be adopted. */
  adopts: boolean;
  /** Whether replicas are kept apart from the host, and a sentence about that or why not (for the banner and /health); null where none run. */
  isolation: { isolated: boolean; detail: string } | null;
}

/** Where what is followed of a replica's output begins. */
export type LogsFrom = "START" | "NOW";

export interface Runtime {
  readonly kind: RuntimeKind;
  readonly capabilities: RuntimeCapabilities;
  /** How many requests of replicas to hosts out of their list were refused while this process ran, as in `egress/refusal-counts.ts`. */
  egressRefusals?(): ReadonlyMap<string, number>;
  /** What keeps it from its work now, in a sentence; null: nothing. Left out: nothing can. */
  problem?(): Promise<string | null>;
  /** Whether a replica of this sort, reached at `host`, takes a port of the host's range. */
  needsPort(launch: ReplicaLaunch["kind"], host: string): boolean;
  /** Whether a replica would answer, where none can be called: simulated ones. Left out: they are called at their endpoint. */
  answers?(handle: ReplicaHandle): boolean;
  /**
   * Starts a replica and returns once the process (container, pod) exists, not once it answers. Idempotent by
   * `spec.name`: where one of that name runs already, its handle is returned. Nothing is left behind when it throws. What takes long, such as
   * pulling an image, is told by `progress`, in a sentence.
   * @throws ToolyardError BAD_USER_INPUT when the launch cannot be run (no such command, no such directory), with a
   *   sentence a person can act on; UPSTREAM_UNAVAILABLE when the engine does not answer.
   */
  start(spec: ReplicaSpec, signal?: AbortSignal, progress?: (reason: string) => void): Promise<ReplicaHandle>;
  /** Every replica of this owner (this DATA_DIR or cluster label) that runs now, known to the store or not. */
  list(): Promise<{ handle: ReplicaHandle; replicaId: string; deploymentId: string }[]>;
  /**
   * The handle as it is now: where the replica answers may have moved with DATA_DIR. Null when it is no replica of this owner, as in a copy of
   * DATA_DIR those of the original are not. Such a one is never stopped here, and never alive.
   */
  recognize(handle: ReplicaHandle): Promise<ReplicaHandle | null>;
  inspect(handle: ReplicaHandle): Promise<ReplicaLiveness>;
  /** The last `last` lines, oldest first. Works for a replica that ended, until `forget`. */
  logs(handle: ReplicaHandle, last: number): Promise<ReplicaLogLine[]>;
  /** Lines as they come, until `signal` aborts or the replica is gone: new ones, or after all that it has printed. @param from @default NOW */
  followLogs(handle: ReplicaHandle, signal: AbortSignal, from?: LogsFrom): AsyncIterable<ReplicaLogLine>;
  /**
   * SIGTERM (or the engine's stop), after `graceMs` SIGKILL, to the replica and all it started; resolves when it is
   * verified gone. Stopping one that is gone is no error.
   */
  stop(handle: ReplicaHandle, graceMs: number): Promise<void>;
  /** Removes what remains of an ended replica: logs, working folder. */
  forget(handle: ReplicaHandle): Promise<void>;
  /** Calls back (at most once for each handle) soon after a replica that it started or adopted ends by itself. Returns unsubscribe. */
  onExit(listener: (handle: ReplicaHandle, deploymentId: string) => void): () => void;
  /** Ends the adapter's own timers and sockets. Replicas go on. */
  close(): Promise<void>;
}
