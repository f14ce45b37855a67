import type { Runtime } from "@toolyard/runtimes/runtime.ts";
import type { Logger } from "@toolyard/service-kit";
import type { DeploymentStore } from "../deployment-store.ts";
import { saveSettled } from "./settle.ts";
import { transition } from "./transitions.ts";

/**
 * Stops every replica of this host and writes that it is to be started again: what was asked stays as it is, and the next start
 * of Toolyard brings it back. For REPLICAS_ON_EXIT=stop.
 */
export async function suspendReplicas(options: {
  store: DeploymentStore;
  runtimes: readonly Runtime[];
  hostId: string;
  graceMs: number;
  now: () => number;
  logger: Logger;
}): Promise<void> {
  const { store, runtimes, hostId, graceMs, now, logger } = options;
  const left = new Set<string>();
  await Promise.all(
    runtimes.map(async (runtime) => {
      const running = await runtime.list();
      await Promise.all(
        running.map(async ({ handle, replicaId }) => {
          try {
            await runtime.stop(handle, graceMs);
          } catch (error) {
            left.add(replicaId);
            logger.error(
              { err: error, replica: handle.name },
              "a replica could not be stopped; the next start of Toolyard finds it",
            );
          }
        }),
      );
    }),
  );
  for (const { deployment } of await store.unsettled()) {
    await store.transaction(async (tx) => {
      const record = await tx.load(deployment.id);
      if (!record) return;
      const context = { policy: record.deployment.launch.options.health, now: now(), random: 0.5 };
      let changed = false;
      const replicas = [];
      for (const replica of record.replicas) {
        const event = replica.state.phase === "STOPPING" ? ({ type: "gone" } as const) : ({ type: "reset" } as const);
        const suspended =
          replica.hostId === hostId && !left.has(replica.id) && replica.state.phase !== "FAILED"
            ? transition(replica, event, context)
            : null;
        const after = suspended ? { ...replica, ...suspended } : replica;
        if (suspended) {
          changed = true;
          await tx.saveReplica(after);
        }
        if (after.state.phase !== "STOPPED") replicas.push(after);
      }
      if (!changed) return;
      const stopping = record.deployment.desired === "STOP";
      const message = `${record.deployment.name} was stopped with Toolyard and starts again with it.`;
      await saveSettled(
        tx,
        { deployment: { ...record.deployment, everReady: stopping && record.deployment.everReady }, replicas },
        now(),
        stopping ? [] : [{ kind: "SUSPENDED", message }],
      );
    });
  }
}
