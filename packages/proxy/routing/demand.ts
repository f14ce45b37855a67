import { newId } from "@toolyard/service-kit";
import { createSharedBudget } from "../calls/budget.ts";
import type { Replica } from "./replica.ts";

/** The calls of one deployment that is scaled by its load. */
export interface Demand {
  /** A call, not a stream, came in. */
  began(): void;
  ended(): void;
  /** A call or stream went to this replica. */
  uses(replica: Replica): void;
  /** A call came in while no replica is ready, which is told at once. */
  wake(): void;
  /** A call of this user waits until a replica is ready, which is told at once. False: as many as may wait do so. */
  hold(subject: string): boolean;
  /** It does not wait any more. */
  letGo(subject: string): void;
}

/** What a proxy tells of a deployment: see `DeploymentLoadInput` of the graph. */
export interface DeploymentLoad {
  deploymentId: string;
  calls: number;
  replicaIds: string[];
}

/** Tells the control plane of the calls of deployments that are scaled by load. */
export interface Demands {
  of(deploymentId: string): Demand;
  close(): void;
}

const INTERVAL_MS = 1_000;
/** Calls of one deployment, and of all, that wait until a replica is ready; of each, one user has a share. Their bodies are small, or not read yet, or held within a bound. */
const MAX_HELD = 100;
const MAX_HELD_IN_ALL = 1_000;

export function createDemands(options: {
  /** The callback handles its own failures: the next report comes soon. */
  report: (proxyId: string, loads: DeploymentLoad[]) => void;
  /** In ms, never set back. */
  now?: () => number;
}): Demands {
  const { report, now = () => performance.now() } = options;
  const proxyId = newId();
  const active = new Set<{ take(): DeploymentLoad; isIdle(): boolean }>();
  const heldInAll = createSharedBudget(MAX_HELD_IN_ALL);
  let timer: NodeJS.Timeout | null = null;
  let soon: NodeJS.Immediate | null = null;
  let hasTold = false;

  function tell(): void {
    if (soon !== null) clearImmediate(soon);
    soon = null;
    const loads = [...active].map((each) => each.take());
    for (const each of active) if (each.isIdle()) active.delete(each);
    // Once more when there is nothing left, so that nobody has to wait until the last is out of date.
    if (loads.length > 0 || hasTold) report(proxyId, loads);
    hasTold = loads.length > 0;
  }

  function look(): void {
    tell();
    timer = active.size > 0 || hasTold ? setTimeout(look, INTERVAL_MS).unref() : null;
  }

  return {
    of(deploymentId) {
      const used = new Set<Replica>();
      let running = 0;
      let held = 0;
      const heldHere = createSharedBudget(MAX_HELD);
      let since = now();
      let takenAt = since;
      /** Calls times ms since it was taken. */
      let area = 0;
      let isAsked = false;

      function settle(): void {
        const at = now();
        area += running * (at - since);
        since = at;
      }
      const source = {
        take(): DeploymentLoad {
          settle();
          const average = since > takenAt ? area / (since - takenAt) : running;
          area = 0;
          takenAt = since;
          const replicaIds = [...used].map(({ id }) => id);
          for (const replica of used) if (replica.outstanding === 0) used.delete(replica);
          const calls = held > 0 ? Math.max(running, held) : isAsked ? Math.max(average, 1) : average;
          isAsked = false;
          return { deploymentId, calls, replicaIds };
        },
        isIdle: () => running === 0 && held === 0 && used.size === 0,
      };
      function wake(): void {
        if (!active.has(source)) {
          active.add(source);
          since = takenAt = now();
        }
        timer ??= setTimeout(look, INTERVAL_MS).unref();
      }
      function ask(): void {
        wake();
        // Once for all calls that wait, until the next report.
        if (!isAsked) soon ??= setImmediate(tell);
        isAsked = true;
      }
      return {
        began() {
          wake();
          settle();
          running += 1;
        },
        ended() {
          settle();
          running -= 1;
        },
        uses(replica) {
          wake();
          used.add(replica);
        },
        wake: ask,
        hold(subject) {
          const here = heldHere.of(subject);
          if (!here.take(1)) return false;
          if (!heldInAll.of(subject).take(1)) {
            here.give(1);
            return false;
          }
          held += 1;
          ask();
          return true;
        },
        letGo(subject) {
          held -= 1;
          heldHere.of(subject).give(1);
          heldInAll.of(subject).give(1);
        },
      };
    },
    close() {
      if (timer !== null) clearTimeout(timer);
      if (soon !== null) clearImmediate(soon);
      timer = null;
      active.clear();
    },
  };
}
