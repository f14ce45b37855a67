import type { AfterStop, Deployment, Replica, ReplicaPhase } from "../deployment.ts";
import { LONGEST_BACKOFF_MS } from "./backoff.ts";
import { deriveStatus } from "./status.ts";

/** A replica's row and its runtime's view of it. */
export interface ObservedReplica extends Pick<
  Replica,
  "id" | "ordinal" | "generation" | "state" | "attempts" | "lastProbeAt"
> {
  /** ABSENT: none was started yet, or none is needed. GONE: it was started and is no more. LOST: its host was given up. */
  process: "RUNNING" | "GONE" | "ABSENT" | "LOST";
  /** For some time it has had neither calls nor streams: it may stop once it has no sessions, either. */
  isUnused?: boolean;
  /** It was refused where it is, and there is a host that has not refused it. */
  hasOtherHost?: boolean;
}

export type DesiredDeployment = Pick<
  Deployment,
  | "desired"
  | "desiredReplicas"
  | "autoscale"
  | "generation"
  | "everReady"
  | "deployedAt"
  | "role"
  | "status"
  | "health"
  | "reason"
  | "words"
> & {
  probeIntervalMs: number;
  /** The replicas that load calls for; null where that does not count. */
  wantedByLoad: number | null;
  /** How many replicas of the deployment that it is to replace are READY, as last read. */
  readyBefore: number;
};

/**
 * What to do next. All but `scale`, `create`, `shift` and `mark` are about one replica; these and `move` are the leader's, all others its host's. Each is idempotent: done again, or too late,
 * it finds its work done and changes nothing.
 */
export type Action =
  /** Load calls for another number of replicas. */
  | { type: "scale"; replicas: number }
  | { type: "create"; ordinal: number }
  /** Start its process, or find the one that a start cut short left behind. */
  | { type: "start"; replicaId: string }
  /** Its process was started: call it until it answers, ends, or its time is up. */
  | { type: "await"; replicaId: string }
  | { type: "probe"; replicaId: string }
  /** Its process ended by itself: record how. */
  | { type: "reap"; replicaId: string }
  | { type: "stop"; replicaId: string; then: AfterStop; reason: string }
  /** Give it no new calls, and let those that it has end; or take that back. */
  | { type: "retire"; replicaId: string }
  | { type: "recall"; replicaId: string }
  /** It is not used any more: stop it, unless it has sessions. */
  | { type: "release"; replicaId: string }
  | { type: "reset"; replicaId: string }
  /** Its host is given up, or refuses it: have it begin on another, or leave nothing of it with `remove`. */
  | { type: "move"; replicaId: string; remove: boolean }
  /** Give this deployment the tool's route and retire the one that has it. */
  | { type: "shift" }
  /** The stored status differs from that of the replicas. */
  | { type: "mark" };

/** Phases in which a process may exist. */
const OCCUPIED: readonly ReplicaPhase[] = ["STARTING", "READY", "UNHEALTHY", "STOPPING"];
/** The order in which replicas are given up when there are too many. */
const DISPENSABLE: readonly ReplicaPhase[] = [
  "FAILED",
  "BACKOFF",
  "PENDING",
  "STOPPING",
  "STARTING",
  "UNHEALTHY",
  "READY",
];
const isRetiring = ({ state }: Pick<ObservedReplica, "state">): boolean =>
  state.phase === "READY" && state.retiringSince !== undefined;

/**
 * Decides which actions bring one deployment closer to its desired state. Pure. Never asks for more than `desiredReplicas + 1` processes.
 */
export function decide(deployment: DesiredDeployment, replicas: readonly ObservedReplica[], now: number): Action[] {
  const actions: Action[] = [];
  const wanted = deployment.desired === "STOP" ? 0 : deployment.desiredReplicas;
  const staying = replicas.filter((replica) => !isLeaving(replica));
  const surplus = chooseSurplus(staying, staying.length - wanted);
  const kept = staying.filter((replica) => !surplus.has(replica));
  const restarting = chooseRestarts(kept, deployment.generation);

  let occupied = replicas.filter(({ state }) => OCCUPIED.includes(state.phase)).length;
  for (const replica of replicas) {
    const action = isLost(replica, restarting.has(replica) || surplus.has(replica))
      ? ({ type: "move", replicaId: replica.id, remove: isLeaving(replica) || surplus.has(replica) } as const)
      : isLeaving(replica)
        ? stop(replica, "REMOVE", "It is stopping.")
        : surplus.has(replica)
          ? giveUp(replica, deployment, now)
          : restarting.has(replica)
            ? restart(replica)
            : replica.hasOtherHost && replica.state.phase === "FAILED"
              ? ({ type: "move", replicaId: replica.id, remove: false } as const)
              : isRetiring(replica)
                ? ({ type: "recall", replicaId: replica.id } as const)
                : carryOn(replica, deployment.probeIntervalMs, now);
    if (action?.type === "start" && replica.state.phase !== "STARTING") {
      if (occupied > wanted) continue;
      occupied += 1;
    }
    if (action) actions.push(action);
  }
  for (let missing = wanted - staying.length; missing > 0; missing -= 1)
    actions.push({ type: "create", ordinal: freeOrdinal(replicas, actions) });
  const { wantedByLoad } = deployment;
  if (deployment.desired === "RUN" && wantedByLoad !== null && wantedByLoad !== deployment.desiredReplicas)
    actions.push({ type: "scale", replicas: wantedByLoad });
  const toCarry = Math.max(wanted, wantedByLoad ?? 0);
  if (deployment.desired === "RUN" && deployment.role === "PENDING" && mayTakeOver(kept, toCarry, deployment))
    actions.push({ type: "shift" });
  const derived = deriveStatus(deployment, replicas);
  if (
    derived.status !== deployment.status ||
    derived.health !== deployment.health ||
    derived.reason !== deployment.reason ||
    derived.words !== deployment.words
  )
    actions.push({ type: "mark" });
  return actions;
}

/** When to decide again without an event (epoch ms): a back-off ends or a probe is due. Null: no need. */
export function nextLook(deployment: DesiredDeployment, replicas: readonly ObservedReplica[]): number | null {
  const times = replicas.flatMap(({ state, lastProbeAt }) => {
    if (state.phase === "BACKOFF") return [state.until];
    if (state.phase === "READY" || state.phase === "UNHEALTHY")
      return [probeDueAt(state.since, lastProbeAt, deployment.probeIntervalMs)];
    return [];
  });
  return times.length === 0 ? null : Math.min(...times);
}

function probeDueAt(since: number, lastProbeAt: number | null, intervalMs: number): number {
  return (lastProbeAt ?? since) + intervalMs;
}

function carryOn(replica: ObservedReplica, probeIntervalMs: number, now: number): Action | null {
  const { id: replicaId, state } = replica;
  switch (state.phase) {
    case "PENDING":
      return { type: "start", replicaId };
    case "BACKOFF":
      // A back-off that is longer than any: the clock was set back.
      return now >= state.until || state.until - now > LONGEST_BACKOFF_MS ? { type: "start", replicaId } : null;
    case "STARTING":
      if (replica.process === "GONE") return { type: "reap", replicaId };
      return replica.process === "ABSENT" ? { type: "start", replicaId } : { type: "await", replicaId };
    case "READY":
    case "UNHEALTHY":
      if (replica.process === "GONE") return { type: "reap", replicaId };
      return now >= probeDueAt(state.since, replica.lastProbeAt, probeIntervalMs) ||
        now < (replica.lastProbeAt ?? state.since) // likewise
        ? { type: "probe", replicaId }
        : null;
    case "STOPPING":
      return stop(replica, state.then, state.reason);
    case "STOPPED":
    case "FAILED":
      return null;
  }
}

/** Load comes and goes: what serves its calls is not cut off when there is less. */
function giveUp(replica: ObservedReplica, { desired, autoscale, probeIntervalMs }: DesiredDeployment, now: number) {
  const { id: replicaId, state } = replica;
  if (desired === "STOP") return stop(replica, "REMOVE", "It was asked to stop.");
  const serves = (state.phase === "READY" || state.phase === "UNHEALTHY") && replica.process !== "GONE";
  if (autoscale === null || !serves) return stop(replica, "REMOVE", "It was scaled away.");
  if (state.phase === "READY" && !isRetiring(replica)) return { type: "retire", replicaId } as const;
  const isOver = isRetiring(replica) && replica.isUnused;
  return isOver ? ({ type: "release", replicaId } as const) : carryOn(replica, probeIntervalMs, now);
}

function stop({ id: replicaId }: ObservedReplica, then: AfterStop, reason: string): Action {
  return { type: "stop", replicaId, then, reason };
}

function restart(replica: ObservedReplica): Action {
  return OCCUPIED.includes(replica.state.phase)
    ? stop(replica, "RESTART", "It is restarted, as was asked.")
    : { type: "reset", replicaId: replica.id };
}

function isLeaving({ state }: ObservedReplica): boolean {
  return state.phase === "STOPPED" || (state.phase === "STOPPING" && state.then === "REMOVE");
}

/** One that failed has nothing to begin anew, unless a restart is asked for, or its end. */
function isLost({ process, state }: ObservedReplica, isAsked: boolean): boolean {
  return process === "LOST" && (state.phase !== "FAILED" || isAsked);
}

function chooseSurplus(staying: readonly ObservedReplica[], count: number): Set<ObservedReplica> {
  if (count <= 0) return new Set();
  const sorted = staying.toSorted(
    (a, b) =>
      DISPENSABLE.indexOf(a.state.phase) - DISPENSABLE.indexOf(b.state.phase) ||
      Number(isRetiring(b)) - Number(isRetiring(a)) ||
      b.ordinal - a.ordinal,
  );
  return new Set(sorted.slice(0, count));
}

/**
 * Which replicas of an earlier generation to replace now: all that serve nothing at once; those that serve one at a time, and
 * only while all replacements so far are READY.
 */
function chooseRestarts(kept: readonly ObservedReplica[], generation: number): Set<ObservedReplica> {
  const outdated = kept.filter((replica) => replica.generation < generation && replica.state.phase !== "STOPPING");
  // A PENDING one starts for the new generation by itself.
  const idle = outdated.filter(({ state }) => state.phase !== "READY" && state.phase !== "PENDING");
  const serving = outdated.filter(({ state }) => state.phase === "READY");
  const settled = kept.every(
    (replica) => replica.state.phase === "READY" || (outdated.includes(replica) && replica.state.phase !== "PENDING"),
  );
  const first = settled && idle.length === 0 ? serving.toSorted((a, b) => a.ordinal - b.ordinal)[0] : undefined;
  return new Set(first ? [first] : idle);
}

/** Where some have failed, it takes over from no better one: that is decided with it, but asked only when it may be so. */
function mayTakeOver(
  kept: readonly ObservedReplica[],
  wanted: number,
  { desiredReplicas, readyBefore }: DesiredDeployment,
): boolean {
  const ready = kept.filter(({ state }) => state.phase === "READY").length;
  const failed = kept.filter(({ state }) => state.phase === "FAILED").length;
  if (ready < Math.min(desiredReplicas, readyBefore)) return false;
  return ready + failed >= wanted && (ready > 0 || wanted === 0);
}

function freeOrdinal(replicas: readonly ObservedReplica[], actions: readonly Action[]): number {
  const taken = new Set([
    ...replicas.map(({ ordinal }) => ordinal),
    ...actions.flatMap((action) => (action.type === "create" ? [action.ordinal] : [])),
  ]);
  let ordinal = 0;
  while (taken.has(ordinal)) ordinal += 1;
  return ordinal;
}
