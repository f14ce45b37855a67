import type { ReplicaHandle, ReplicaLogLine, Runtime, RuntimeKind } from "@toolyard/runtimes/runtime.ts";
import { ToolyardError, type Logger, type Sealer } from "@toolyard/service-kit";
import type { Deployment, HealthCheck, Replica } from "../deployment.ts";
import type { InterfaceRecorder } from "../interfaces/interface-recorder.ts";
import type { KnownSecrets } from "../logs/known-secrets.ts";
import type { Reason } from "../reason.ts";
import type { DeploymentRecord } from "../store/deployment-store.ts";
import type { ListedNames } from "../usage/listed-names.ts";
import type { PortAllocator } from "./ports.ts";
import type { Prober } from "./probe.ts";
import { lastOutput, LOOKED_AT } from "./process-end.ts";
import type { QuietProbes } from "./quiet-probes.ts";
import type { Reap } from "./reaper.ts";
import type { ReplicaChanges } from "./replica-changes.ts";
import type { ReplicaEvent } from "./transitions.ts";

export interface ReplicaWorkOptions {
  changes: ReplicaChanges;
  runtimes: ReadonlyMap<RuntimeKind, Runtime>;
  prober: Prober;
  ports: PortAllocator;
  sealer: Sealer;
  secrets: KnownSecrets;
  reap: Reap;
  isBusy: (replicaId: string, withinMs?: number) => boolean;
  /** Receives the tools that servers list. */
  listed: Pick<ListedNames, "note">;
  recorder: Pick<InterfaceRecorder, "begin" | "beginUnlessKnown">;
  quietProbes: Pick<QuietProbes, "note">;
  /** The hosts that have refused a replica when this one does; null where no other is known that could run it. */
  refusalsOf: (deployment: Deployment, replica: Replica) => Promise<string[] | null>;
  logger: Logger;
  now: () => number;
  random: () => number;
  /** Whether the process is known to be gone. */
  isGone: (handle: ReplicaHandle) => boolean;
  /** From leaving the route to SIGTERM: proxies learn of the change meanwhile, so that no call reaches a closed port. */
  drainMs: number;
  /** For calls under way, before SIGTERM: of servers that nothing but proxies knows to have any. */
  callsMs: number;
  /** From SIGTERM to SIGKILL. */
  graceMs: number;
}

/** A piece of work: it runs to its end or until `signal` aborts, and writes its outcome. */
export type ReplicaJob = (record: DeploymentRecord, replica: Replica, signal: AbortSignal) => Promise<void>;

/** What all work on replicas has in common: the runtime, changes of the replica as it was read, and its words without secrets. */
export interface ReplicaContext extends ReplicaWorkOptions {
  /** @throws ToolyardError BAD_USER_INPUT when the runtime is not available any more */
  runtimeOf(deployment: Deployment): Runtime;
  /** Null when the replica has changed meanwhile. */
  apply(
    replica: Replica,
    event: ReplicaEvent,
    more?: { set?: (replica: Replica) => Partial<Replica>; check?: HealthCheck },
  ): Promise<DeploymentRecord | null>;
  /** The same without a transition. */
  update(
    replica: Replica,
    set: (replica: Replica) => Partial<Replica>,
    check?: HealthCheck,
  ): Promise<DeploymentRecord | null>;
  /** A reason without the replica's secrets: no words of a server are written before this. */
  hidden(deployment: Deployment, replica: Replica, reason: Reason): Reason;
  /** The last lines of its log. */
  lastLinesOf(deployment: Deployment, replica: Replica): Promise<ReplicaLogLine[]>;
  /** The last line that the process printed, without secrets. @param lines Of its log, where they were read */
  lastOutputOf(deployment: Deployment, replica: Replica, lines?: readonly ReplicaLogLine[]): Promise<string | null>;
}

const LONGEST_WORDS = 1_000;

export function createReplicaContext(options: ReplicaWorkOptions): ReplicaContext {
  const { changes, runtimes, secrets } = options;

  function runtimeOf(deployment: Deployment): Runtime {
    const runtime = runtimes.get(deployment.runtime);
    if (!runtime)
      throw new ToolyardError("BAD_USER_INPUT", `The runtime ${deployment.runtime} is not available here any more.`);
    return runtime;
  }

  const unchanged = ({ deploymentId, id: replicaId, incarnation, hostId }: Replica) => ({
    deploymentId,
    replicaId,
    incarnation,
    hostId,
  });

  const lastLinesOf: ReplicaContext["lastLinesOf"] = async (deployment, { handle }) =>
    handle === null ? [] : runtimeOf(deployment).logs(handle, LOOKED_AT);

  return {
    ...options,
    runtimeOf,
    apply: (replica, event, more = {}) => changes.apply({ ...unchanged(replica), event, ...more }),
    update: (replica, set, check) => changes.update({ ...unchanged(replica), set, ...(check && { check }) }),
    hidden(deployment, replica, { reason, words }) {
      const { text } = secrets.mask(deployment, replica);
      return { reason: text(reason), words: words === null ? null : text(words).slice(0, LONGEST_WORDS) };
    },
    lastLinesOf,
    lastOutputOf: async (deployment, replica, lines) =>
      lastOutput(lines ?? (await lastLinesOf(deployment, replica)), (text) =>
        secrets.mask(deployment, replica).text(text),
      ),
  };
}

/** The replica in a record that was read again; null when it is gone. */
export function currentOf(record: DeploymentRecord | null, replica: Replica): Replica | null {
  return record?.replicas.find(({ id }) => id === replica.id) ?? null;
}

export function ignoreAbort(error: unknown): void {
  if (!(error instanceof Error && error.name === "AbortError")) throw error;
}
