import type { Runtime, RuntimeKind } from "@toolyard/runtimes/runtime.ts";
import type { Logger } from "@toolyard/service-kit";
import type { DeploymentStore } from "../store/deployment-store.ts";
import { resetReplicas } from "./replica-reset.ts";

/**
 * Stops every replica of this host and records that it is to be started again: the desired state stays as it is, and the next
 * start of Toolyard restores it. For REPLICAS_ON_EXIT=stop.
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
  const away = new Set<RuntimeKind>();
  await Promise.all(
    runtimes.map(async (runtime) => {
      const running = await runtime.list().catch((error: unknown) => {
        away.add(runtime.kind);
        logger.error(
          { err: error, runtime: runtime.kind },
          "the replicas of a runtime could not be stopped; the next start of Toolyard finds them",
        );
        return [];
      });
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
  await resetReplicas({
    store,
    now,
    chosen: ({ hostId: host, id, state, handle }) =>
      host === hostId && !left.has(id) && !(handle && away.has(handle.runtime)) && state.phase !== "FAILED",
    message: (name) => `${name} was stopped with Toolyard and starts again with it.`,
  });
}
