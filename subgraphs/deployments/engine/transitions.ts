import type { AfterStop, Deployment, Replica, ReplicaPhase, ReplicaState } from "../deployment.ts";
import type { HealthPolicy } from "@toolyard/launch";
import type { Reason } from "../reason.ts";
import { FORGET_AFTER_MS, MOST_ATTEMPTS, backoffMs, mostAttempts } from "./backoff.ts";

/** An event of a replica. */
export type ReplicaEvent =
  /** Its process is being started; for the deployment's generation. */
  | { type: "start"; generation: number }
  /** The launch cannot be run, and trying again would not help; but perhaps on another host than `refusedBy`. */
  | ({ type: "refused"; refusedBy?: string[] | null } & Reason)
  /** Its process is gone, or could not be started this time: where `isPassing`, since what starts it, or has its image, was away. */
  | ({ type: "ended"; isPassing?: boolean } & Reason)
  | { type: "answered" }
  | ({ type: "silent" } & Reason)
  | { type: "stop"; then: AfterStop; reason: string }
  /** Verified: nothing of its process is left. With `then`, applies only if that is still the plan for the replica. */
  | { type: "gone"; then?: AfterStop }
  /** No new calls are to reach it; or they are again. */
  | { type: "retire" }
  | { type: "recall" }
  /** Back to the beginning, with the past forgotten. */
  | { type: "reset" }
  /** Its host is given up: whatever becomes of its process there, it begins anew. */
  | { type: "lost"; reason: string };

/** The part of a replica that transitions change. */
export type ReplicaCore = Pick<Replica, "state" | "generation" | "incarnation" | "attempts" | "restarts">;

export interface TransitionContext {
  policy: HealthPolicy;
  /** As `mostAttempts` says. */
  mostAttempts: number;
  now: number;
  /** From 0 to 1, for the back-off's jitter. */
  random: number;
}

export function contextOf(
  deployment: Pick<Deployment, "launch" | "deployedAt">,
  now: number,
  random: number,
): TransitionContext {
  return { policy: deployment.launch.options.health, mostAttempts: mostAttempts(deployment), now, random };
}

type Step<Phase extends ReplicaPhase, Type extends ReplicaEvent["type"]> = (
  replica: ReplicaCore & { state: Extract<ReplicaState, { phase: Phase }> },
  event: Extract<ReplicaEvent, { type: Type }>,
  context: TransitionContext,
) => ReplicaCore | null;

type Table = { [Phase in ReplicaPhase]: { [Type in ReplicaEvent["type"]]?: Step<Phase, Type> } };

/** A step that every phase takes alike. */
type CommonStep<Type extends ReplicaEvent["type"]> = (
  replica: ReplicaCore,
  event: Extract<ReplicaEvent, { type: Type }>,
  context: TransitionContext,
) => ReplicaCore | null;

const begin: CommonStep<"start"> = (replica, { generation }, { now, mostAttempts }) => ({
  ...replica,
  state: { phase: "STARTING", since: now, ...whyAgain(replica, mostAttempts), ...refusalsOf(replica) },
  generation,
  incarnation: replica.incarnation + 1,
  // One that was stopped in order, or moved, only begins.
  restarts: replica.restarts + (replica.state.phase === "BACKOFF" ? 1 : 0),
});

/** Until a new start shows something, the outcome of the last one tells most. */
function whyAgain({ state, attempts }: ReplicaCore, most: number): Reason | null {
  if (state.phase !== "BACKOFF") return null;
  return {
    reason: `It is started again (try ${attempts + 1} of ${state.most ?? most}). ${state.reason}`,
    words: state.words,
  };
}

const fail: CommonStep<"ended"> = (replica, event, context) => afterFailure(replica, event, context);

const refuse: CommonStep<"refused"> = (replica, { reason, words, refusedBy }) => ({
  ...replica,
  state: refusedBy
    ? { phase: "FAILED", reason: `${reason} It is tried on another host, when one is there.`, words, refusedBy }
    : { phase: "FAILED", reason, words },
});

const refusalsOf = ({ state }: ReplicaCore) => ("refusedBy" in state ? { refusedBy: state.refusedBy } : {});

const stop: CommonStep<"stop"> = (replica, { then, reason }, { now }) => ({
  ...replica,
  state: { phase: "STOPPING", since: now, then, reason, words: null },
});

/** A place without a process needs no stopping: it is gone, or back at the beginning. */
const drop: CommonStep<"stop"> = (replica, { then }) =>
  then === "REMOVE" ? { ...replica, state: { phase: "STOPPED" } } : restartAfresh(replica);

const reset: CommonStep<"reset"> = (replica) => restartAfresh(replica);

const lose: CommonStep<"lost"> = (replica, { reason }) => ({
  ...restartAfresh(replica),
  state: { phase: "PENDING", reason, words: null, ...refusalsOf(replica) },
});

/** The one table of transitions. An event without an entry comes too late and changes nothing. */
const table: Table = {
  PENDING: {
    start: begin,
    stop: drop,
    refused: refuse,
    ended: fail,
    lost: (replica, event, context) => (replica.state.reason === event.reason ? null : lose(replica, event, context)),
  },
  STARTING: {
    lost: lose,
    refused: refuse,
    ended: fail,
    stop,
    answered: (replica, _event, { now }) => ({ ...replica, state: { phase: "READY", since: now } }),
    silent: (replica, { reason, words }, { now }) => ({
      ...replica,
      state: { phase: "STOPPING", since: now, then: "RETRY", reason, words },
    }),
    reset,
  },
  READY: {
    retire: (replica, _event, { now }) =>
      replica.state.retiringSince === undefined
        ? { ...replica, state: { ...replica.state, retiringSince: now } }
        : null,
    recall: (replica) =>
      replica.state.retiringSince === undefined
        ? null
        : { ...replica, state: { phase: "READY", since: replica.state.since } },
    lost: lose,
    ended: fail,
    stop,
    silent: (replica, event, context) => failedProbe(replica, 1, event, context),
    reset,
  },
  UNHEALTHY: {
    lost: lose,
    ended: fail,
    stop,
    silent: (replica, event, context) => failedProbe(replica, replica.state.failures + 1, event, context),
    answered: (replica, _event, { policy, now }) =>
      replica.state.successes + 1 >= policy.successThreshold
        ? { ...replica, state: { phase: "READY", since: now } }
        : { ...replica, state: { ...replica.state, successes: replica.state.successes + 1 } },
    reset,
  },
  BACKOFF: { start: begin, refused: refuse, ended: fail, stop: drop, reset, lost: lose },
  STOPPING: {
    lost: (replica, event, context) =>
      replica.state.then === "REMOVE" ? { ...replica, state: { phase: "STOPPED" } } : lose(replica, event, context),
    // A final stop overrules one before a restart, never the reverse.
    stop: (replica, { then, reason }) =>
      then === "REMOVE" && replica.state.then !== "REMOVE"
        ? { ...replica, state: { ...replica.state, then, reason, words: null } }
        : null,
    gone: (replica, { then = replica.state.then }, context) => {
      if (then !== replica.state.then) return null;
      switch (replica.state.then) {
        case "REMOVE":
          return { ...replica, state: { phase: "STOPPED" } };
        case "RESTART":
          return restartAfresh(replica);
        case "RETRY":
          return afterFailure(replica, replica.state, context);
      }
    },
    reset,
  },
  STOPPED: {},
  FAILED: { stop: drop, reset, lost: lose },
};

/** The replica after the event, or null when the event does not apply to its phase. */
export function transition(replica: ReplicaCore, event: ReplicaEvent, context: TransitionContext): ReplicaCore | null {
  // A row of the table takes exactly its own phase and event; TypeScript cannot follow the two lookups together.
  const step = table[replica.state.phase][event.type] as Step<ReplicaPhase, ReplicaEvent["type"]> | undefined;
  return step ? step(replica, event, context) : null;
}

function restartAfresh(replica: ReplicaCore): ReplicaCore {
  return { ...replica, state: { phase: "PENDING" }, attempts: 0 };
}

function failedProbe(
  replica: ReplicaCore,
  failures: number,
  { reason, words }: Reason,
  { policy, now }: TransitionContext,
): ReplicaCore {
  if (failures >= policy.failureThreshold)
    return {
      ...replica,
      attempts: forgiven(replica, now),
      state: { phase: "STOPPING", since: now, then: "RETRY", reason, words },
    };
  const since = replica.state.phase === "UNHEALTHY" ? replica.state.since : now;
  // Health that lasted is remembered by forgetting the failures before it, as for a process that ends.
  return {
    ...replica,
    attempts: forgiven(replica, now),
    state: { phase: "UNHEALTHY", since, failures, successes: 0, reason, words },
  };
}

function afterFailure(
  replica: ReplicaCore,
  { reason, words, isPassing = false }: Reason & { isPassing?: boolean },
  { now, random, mostAttempts }: TransitionContext,
): ReplicaCore {
  const attempts = forgiven(replica, now) + 1;
  const most = isPassing ? MOST_ATTEMPTS : mostAttempts;
  const until = now + backoffMs(attempts, random);
  const state: ReplicaState =
    attempts >= most
      ? { phase: "FAILED", reason: `${reason} It was tried ${attempts} times.`, words }
      : { phase: "BACKOFF", until, reason, words, ...(most !== mostAttempts && { most }) };
  return { ...replica, attempts, state };
}

function forgiven({ state, attempts }: ReplicaCore, now: number): number {
  return state.phase === "READY" && now - state.since >= FORGET_AFTER_MS ? 0 : attempts;
}
