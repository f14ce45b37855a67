import type { HostAgent } from "../hosts/host-agent.ts";
import type { Place, Placement } from "../hosts/placement.ts";
import { ToolyardError } from "@toolyard/service-kit";
import type { Replica } from "../deployment.ts";
import type { DeploymentRecord, DeploymentStore } from "../store/deployment-store.ts";
import { describeReplica, saveSettled } from "./settle.ts";
import { contextOf, transition, type ReplicaCore } from "./transitions.ts";

/**
 * Has a replica whose host was given up, or has refused it, begin on another host; where none can run it, it waits and says why. Its old process is nobody's from
 * then on: no route has it, its agent can write nothing of it, and stops it when it is back.
 * @returns whether anything was written
 */
export async function relocate(options: {
  /** Whose transactions are the leader's. */
  store: DeploymentStore;
  agent: Pick<HostAgent, "whyGone" | "living">;
  placement: Placement;
  record: DeploymentRecord;
  replica: Replica;
  /** Whether it runs on none of the hosts, so that another goes on with it as it is. */
  isElsewhere: boolean;
  /** Nobody wants it any more. */
  remove: boolean;
  now: number;
}): Promise<boolean> {
  const { store, agent, placement, record, replica, isElsewhere, remove, now } = options;
  const { deployment } = record;
  const { state } = replica;
  const refused = state.phase === "FAILED" && state.refusedBy ? state : null;
  const reason = agent.whyGone(replica.hostId) ?? refused?.reason ?? null;
  // It may be back since the leader has looked.
  const isBack = !refused && (await agent.living()).some(({ id }) => id === replica.hostId);
  if (reason === null || isBack) return false;

  const write = (place: Place | null) =>
    store.transaction(async (tx) => {
      const current = await tx.load(deployment.id);
      const before = current?.replicas.find(({ id }) => id === replica.id);
      if (!current || before?.hostId !== replica.hostId || before.incarnation !== replica.incarnation) return false;
      const core = afterLoss(before, current, reason, { remove, isPlaced: place !== null, now });
      const goesOn = isElsewhere && !refused && place !== null;
      if (!core && !goesOn) return false;
      const after: Replica = goesOn
        ? { ...before, ...place }
        : { ...before, ...core, ...withoutProcess(before), ...place };
      await tx.saveReplica(after);
      const replicas = current.replicas
        .map((each) => (each.id === after.id ? after : each))
        .filter(({ state }) => state.phase !== "STOPPED");
      const moved = place && {
        kind: "MOVED",
        message: `Replica ${after.ordinal} goes to host ${place.hostId}. ${reason}`,
        data: { replicaId: after.id, ordinal: after.ordinal, from: before.hostId, to: place.hostId },
      };
      const event = moved ?? describeReplica(before, after, now);
      await saveSettled(tx, { deployment: current.deployment, replicas }, now, event ? [event] : []);
      return true;
    });

  if (remove) return write(null);
  try {
    const { refusedBy: except = [] } = "refusedBy" in state ? state : {};
    return await placement.reserve(1, deployment, ([place]) => write(place ?? null), { except });
  } catch (error) {
    if (!(error instanceof ToolyardError) || error.code !== "CAPACITY_EXHAUSTED") throw error;
    return refused ? false : write(null);
  }
}

function withoutProcess({ incarnation }: Replica): Partial<Replica> {
  return {
    port: null,
    // Work that the old host has under way is about another process.
    incarnation: incarnation === 0 ? 0 : incarnation + 1,
    handle: null,
    previousHandle: null,
    startedAt: null,
    lastProbeAt: null,
  };
}

/** Null: it waits already, and there is still no place. */
function afterLoss(
  replica: Replica,
  { deployment }: DeploymentRecord,
  reason: string,
  { remove, isPlaced, now }: { remove: boolean; isPlaced: boolean; now: number },
): ReplicaCore | null {
  const context = contextOf(deployment, now, 0);
  const lost = transition(replica, { type: "lost", reason }, context);
  if (remove) return transition(lost ?? replica, { type: "stop", then: "REMOVE", reason }, context) ?? lost;
  return lost ?? (isPlaced ? replica : null);
}
