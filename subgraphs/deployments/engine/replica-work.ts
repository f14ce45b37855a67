import type { Replica } from "../deployment.ts";
import type { DeploymentRecord } from "../store/deployment-store.ts";
import { createReplicaChecks, type ReplicaChecks } from "./replica-checks.ts";
import { createReplicaContext, type ReplicaJob, type ReplicaWorkOptions } from "./replica-context.ts";
import { createReplicaEnd, type ReplicaEnd } from "./replica-end.ts";
import { createFirstAnswer } from "./replica-first-answer.ts";
import { createReplicaStart } from "./replica-start.ts";

/** The work on one replica, of whatever runtime: each piece writes its outcome. */
export interface ReplicaWork extends Pick<ReplicaChecks, "probe" | "check">, ReplicaEnd {
  /** Starts its process, or finds the one that an interrupted start left; then waits for the first answer. */
  start: ReplicaJob;
  awaitAnswer: ReplicaJob;
  /** Retires it, or takes that back. */
  mark(replica: Replica, event: "retire" | "recall"): Promise<void>;
  reset(record: DeploymentRecord, replica: Replica): Promise<void>;
}

export function createReplicaWork(options: ReplicaWorkOptions): ReplicaWork {
  const context = createReplicaContext(options);
  const checks = createReplicaChecks(context);
  const awaitAnswer = createFirstAnswer(context, checks);
  return {
    start: createReplicaStart(context, awaitAnswer),
    awaitAnswer,
    probe: checks.probe,
    check: checks.check,
    ...createReplicaEnd(context, checks),
    async mark(replica, type) {
      await context.apply(replica, { type });
    },
    async reset(_record, replica) {
      await context.apply(replica, { type: "reset" });
    },
  };
}
