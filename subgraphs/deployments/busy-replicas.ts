import { badInput, type Caller } from "@toolyard/service-kit";

/** Which replicas have calls in flight that are within their time, or are to end before it is stopped, as far as proxies tell. */
export interface BusyReplicas {
  /** @throws ToolyardError FORBIDDEN for others than proxies, BAD_USER_INPUT for too many */
  note(caller: Caller, replicaIds: readonly string[]): void;
  /** For another host, which was told of replicas that are here. */
  noteHere(caller: Caller, replicaIds: readonly string[]): void;
  /** @param withinMs How long ago that was told at most. @default 5000 */
  has(replicaId: string, withinMs?: number): boolean;
}

/** How soon a proxy tells it of a call at the latest. */
export const TOLD_WITHIN_MS = 1_500;
const GOOD_FOR_MS = 5_000;
const MOST = 5_000;

export function createBusyReplicas(options: {
  now: () => number;
  /** Tells the hosts of those that are not here. */
  tellOthers: (replicaIds: readonly string[]) => void;
}): BusyReplicas {
  const { now, tellOthers } = options;
  /** By id, the one that was told longest ago first. */
  const toldAt = new Map<string, number>();

  function keep(replicaIds: readonly string[]): void {
    if (replicaIds.length > MOST) throw badInput([{ path: "replicaIds", message: `must be ${MOST} at most` }]);
    for (const id of replicaIds) {
      toldAt.delete(id);
      toldAt.set(id, now());
    }
    for (const [id, at] of toldAt) {
      if (at + GOOD_FOR_MS > now() && toldAt.size <= 2 * MOST) break;
      toldAt.delete(id);
    }
  }

  return {
    note(caller, replicaIds) {
      caller.require("internal:usage");
      keep(replicaIds);
      tellOthers(replicaIds);
    },
    noteHere(caller, replicaIds) {
      caller.require("internal:hosts");
      keep(replicaIds);
    },
    has: (replicaId, withinMs = GOOD_FOR_MS) => (toldAt.get(replicaId) ?? -Infinity) + withinMs > now(),
  };
}
