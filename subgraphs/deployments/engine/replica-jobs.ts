import type { Logger } from "@toolyard/service-kit";
import type { HealthCheck, Replica } from "../deployment.ts";
import type { DeploymentRecord } from "../store/deployment-store.ts";
import type { Action } from "./decide.ts";
import type { ReplicaChanges } from "./replica-changes.ts";
import type { ReplicaWork } from "./replica-work.ts";

/** An action on a replica that is there. */
export type ReplicaAction = Exclude<Action, { type: "scale" | "mark" | "shift" | "create" | "move" }>;

/** The work under way on replicas: one piece at a time for each. */
export interface ReplicaJobs {
  /** Begins a piece of work on a replica, unless one is under way. A stop aborts the work under way, and goes after it. */
  begin(action: ReplicaAction, record: DeploymentRecord, replica: Replica): void;
  /** Whether an action would change nothing now, since the work under way will look again. */
  awaits(action: ReplicaAction): boolean;
  has(replicaId: string): boolean;
  readonly size: number;
  /** Once all that is under way now has ended. */
  settled(): Promise<void>;
  /** Ends what is under way but stops. */
  abort(): void;
}

interface Job {
  kind: Action["type"];
  /** Of a stop that leaves nothing, or is to do so by now. */
  isFinal: boolean;
  abort: AbortController;
  done: Promise<void>;
}

/** Nothing to be done about it but to look again later. */
class StillUsed extends Error {}

/** Actions that do not wait for the work under way, but end it. */
const ENDS_OTHERS: readonly Action["type"][] = ["stop", "reset", "reap"];

export function createReplicaJobs(options: {
  work: ReplicaWork;
  changes: ReplicaChanges;
  logger: Logger;
  /** A probe changed nothing. */
  probed: (replica: Replica, at: HealthCheck["at"]) => void;
  /** A piece of work has ended. */
  ended: (action: ReplicaAction, replica: Replica, outcome: "CHANGED" | "UNCHANGED" | "FAILED") => void;
}): ReplicaJobs {
  const { work, changes, logger, probed, ended } = options;
  const jobs = new Map<string, Job>();

  /** Begins a piece of work on a replica, unless one is under way. A stop aborts the work under way, and goes after it. */
  function begin(action: ReplicaAction, record: DeploymentRecord, replica: Replica): void {
    const running = jobs.get(replica.id);
    if (running) {
      if (ENDS_OTHERS.includes(action.type)) {
        if (running.kind !== "stop") running.abort.abort();
        // One that is final already removes the row itself, after all that it stands for.
        else if (isFinal(action) && !running.isFinal) {
          running.isFinal = true;
          void overrule(replica, action.reason);
        }
      }
      return;
    }
    const abort = new AbortController();
    const run = async (): Promise<void> => {
      let failed = false;
      let changed = true;
      try {
        changed = await doWork(action, record, replica, abort.signal);
      } catch (error) {
        failed = !abort.signal.aborted;
        if (failed && !(error instanceof StillUsed))
          logger.error(
            { err: error, deployment: record.deployment.name, action: action.type },
            "work on a replica failed; it is tried again",
          );
      } finally {
        jobs.delete(replica.id);
        ended(action, replica, failed ? "FAILED" : changed ? "CHANGED" : "UNCHANGED");
      }
    };
    // Set before it runs: the work's own changes may wake this deployment.
    const job: Job = { kind: action.type, isFinal: isFinal(action), abort, done: Promise.resolve() };
    jobs.set(replica.id, job);
    job.done = run();
  }

  async function overrule({ deploymentId, id: replicaId, hostId }: Replica, reason: string): Promise<void> {
    try {
      await changes.apply({ deploymentId, replicaId, hostId, event: { type: "stop", then: "REMOVE", reason } });
    } catch (error) {
      logger.error({ err: error, replica_id: replicaId }, "a stop could not be recorded; the next sweep tries again");
    }
  }

  /** Whether anything has changed. */
  async function doWork(
    action: ReplicaAction,
    record: DeploymentRecord,
    replica: Replica,
    signal: AbortSignal,
  ): Promise<boolean> {
    switch (action.type) {
      case "start":
        await work.start(record, replica, signal);
        return true;
      case "await":
        await work.awaitAnswer(record, replica, signal);
        return true;
      case "probe": {
        const check = await work.probe(record, replica, signal);
        if (check !== null) probed(replica, check.at);
        return check === null;
      }
      case "reap":
        await work.reap(record, replica);
        return true;
      case "stop":
        await work.stop(record, replica, action.then, action.reason);
        return true;
      case "retire":
      case "recall":
        await work.mark(replica, action.type);
        return true;
      case "release":
        // A stop that was asked for meanwhile goes on at once; else the next sweep asks again.
        if (await work.release(record, replica)) return true;
        signal.throwIfAborted();
        throw new StillUsed();
      case "reset":
        await work.reset(record, replica);
        return true;
    }
  }

  return {
    begin,
    awaits: (action) => jobs.has(action.replicaId) && !ENDS_OTHERS.includes(action.type),
    has: (replicaId) => jobs.has(replicaId),
    get size() {
      return jobs.size;
    },
    async settled() {
      await Promise.allSettled([...jobs.values()].map(({ done }) => done));
    },
    abort() {
      for (const { kind, abort } of jobs.values()) if (kind !== "stop" && kind !== "reap") abort.abort();
    },
  };
}

function isFinal(action: ReplicaAction): action is Extract<ReplicaAction, { type: "stop" }> {
  return action.type === "stop" && action.then === "REMOVE";
}
