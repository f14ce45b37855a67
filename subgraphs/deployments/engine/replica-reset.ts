import type { Replica } from "../deployment.ts";
import type { DeploymentStore } from "../store/deployment-store.ts";
import { saveSettled } from "./settle.ts";
import { contextOf, transition } from "./transitions.ts";

/**
 * Puts replicas whose processes are gone back to the beginning: the desired state of their deployments stays, and the reconciler starts them
 * again.
 */
export async function resetReplicas(options: {
  store: DeploymentStore;
  now: () => number;
  chosen: (replica: Replica) => boolean;
  /** The reason for a deployment, given its name. */
  message: (name: string) => string;
}): Promise<void> {
  const { store, now, chosen, message } = options;
  for (const { id } of await store.unsettled()) {
    await store.transaction(async (tx) => {
      const record = await tx.load(id);
      if (!record) return;
      const context = contextOf(record.deployment, now(), 0.5);
      let changed = false;
      const replicas = [];
      for (const replica of record.replicas) {
        const event = replica.state.phase === "STOPPING" ? ({ type: "gone" } as const) : ({ type: "reset" } as const);
        const reset = chosen(replica) ? transition(replica, event, context) : null;
        const after = reset ? { ...replica, ...reset } : replica;
        if (reset) {
          changed = true;
          await tx.saveReplica(after);
        }
        if (after.state.phase !== "STOPPED") replicas.push(after);
      }
      if (!changed) return;
      const stopping = record.deployment.desired === "STOP";
      await saveSettled(
        tx,
        { deployment: { ...record.deployment, everReady: stopping && record.deployment.everReady }, replicas },
        now(),
        stopping ? [] : [{ kind: "SUSPENDED", message: message(record.deployment.name) }],
      );
    });
  }
}
