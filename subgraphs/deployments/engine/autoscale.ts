import type { Autoscale, Deployment } from "../deployment.ts";

/** For each number of replicas from 1 on, when load last called for as many or more (epoch ms). At most `max` long, and falling. */
type NeedHistory = readonly number[];

/** How long load must be lower before replicas stop, unless `idleSeconds` is less. */
export const SCALE_DOWN_AFTER_MS = 60_000;

/** The replicas that this many concurrent calls need, within the bounds. */
export function neededReplicas({ min, max, targetConcurrentCalls }: Autoscale, calls: number): number {
  // An average of whole calls is as exact as its sum.
  const needed = Math.max(calls > 0 ? 1 : 0, Math.ceil(calls / targetConcurrentCalls - 1e-6));
  return Math.min(max, Math.max(min, needed));
}

/**
 * The history with what load calls for now. Without one it is as if what runs had been needed until now: after a restart, nothing is
 * stopped before its time has passed once more.
 */
function noteNeed(history: NeedHistory | null, running: number, needed: number, now: number): NeedHistory {
  const past = history ?? Array.from({ length: running }, () => now);
  return Array.from({ length: Math.max(past.length, needed) }, (_, index) =>
    // A time to come: the clock was set back.
    index < needed ? now : Math.min(past[index] ?? now, now),
  );
}

/**
 * How many replicas there are to be: as many as were needed at any time within the window for scaling down; the last one stays until nothing was
 * needed for `idleSeconds`.
 */
function replicasByLoad({ min, max, idleSeconds }: Autoscale, history: NeedHistory, now: number): number {
  const idleMs = idleSeconds * 1_000;
  const downMs = Math.min(SCALE_DOWN_AFTER_MS, idleMs);
  const wanted = history.findLastIndex((at, index) => now - at < (index === 0 ? idleMs : downMs)) + 1;
  return Math.min(max, Math.max(min, wanted));
}

/** Follows the load of the deployments that are scaled by it. In memory: another process begins anew, as `noteNeed` says. */
export interface Autoscaler {
  /**
   * How many replicas load calls for now; null where it does not say, or does not count.
   * @param replaced That has the route which the deployment is to take over; null: there is none
   */
  wanted(deployment: Deployment, replaced: Deployment | null): number | null;
  /** Forgets deployments that are not among these. */
  keep(deploymentIds: ReadonlySet<string>): void;
}

export function createAutoscaler(options: {
  callsOf: (deploymentId: string) => number;
  now: () => number;
}): Autoscaler {
  const { callsOf, now } = options;
  const histories = new Map<string, NeedHistory>();
  return {
    wanted({ id, autoscale, desired, desiredReplicas, everReady, status }, replaced) {
      if (!autoscale || desired === "STOP") return null;
      if (replaced !== null && status !== "FAILED") {
        // It is to carry the other's load from its first call on; how long that is past counts from then.
        histories.delete(id);
        // Of one with a fixed number proxies tell nothing.
        const needed = replaced.autoscale
          ? neededReplicas(autoscale, callsOf(replaced.id))
          : Math.min(autoscale.max, replaced.desiredReplicas);
        return Math.max(desiredReplicas, needed);
      }
      // One that has never answered, or failed for good, is left as it is: what it lacks is not capacity.
      const counts = everReady && status !== "FAILED";
      const needed = counts ? neededReplicas(autoscale, callsOf(id)) : desiredReplicas;
      const history = noteNeed(histories.get(id) ?? null, desiredReplicas, needed, now());
      histories.set(id, history);
      return counts ? replicasByLoad(autoscale, history, now()) : null;
    },
    keep(deploymentIds) {
      for (const id of histories.keys()) if (!deploymentIds.has(id)) histories.delete(id);
    },
  };
}
