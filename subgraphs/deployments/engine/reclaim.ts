import type { Runtime, RuntimeKind } from "@toolyard/runtimes/runtime.ts";
import type { Logger } from "@toolyard/service-kit";
import type { DeploymentStore } from "../store/deployment-store.ts";
import { hasProcess } from "./census.ts";
import { resetReplicas } from "./replica-reset.ts";

/**
 * Brings the rows in line with DATA_DIR's present place before anything is routed by them: replicas that kept running are reached where they are,
 * and those of another DATA_DIR, of which this one is a copy, are started here anew.
 */
export async function reclaimReplicas(options: {
  store: DeploymentStore;
  runtimes: readonly Runtime[];
  hostId: string;
  now: () => number;
  logger: Logger;
}): Promise<void> {
  const { store, hostId, now, logger } = options;
  const runtimes: ReadonlyMap<RuntimeKind, Runtime> = new Map(options.runtimes.map((each) => [each.kind, each]));
  const foreign = new Set<string>();
  for (const { id } of await store.unsettled()) {
    const known = await store.load(id).catch((error: unknown) => {
      logger.error({ err: error, deployment_id: id }, "a deployment's rows cannot be read; it is left alone");
      return null;
    });
    for (const replica of known?.replicas ?? []) {
      const { handle } = replica;
      const runtime = handle && runtimes.get(handle.runtime);
      if (!runtime || replica.hostId !== hostId || !hasProcess(replica)) continue;
      const current = await runtime.recognize(handle);
      if (current === null) foreign.add(replica.id);
      else if (current.endpoint.url !== handle.endpoint?.url)
        await store.transaction(async (tx) => {
          const record = await tx.load(id);
          const row = record?.replicas.find((each) => each.id === replica.id);
          if (!record || !row) return;
          await tx.saveReplica({ ...row, handle: current });
          await tx.saveDeployment(record.deployment);
          const message = `${record.deployment.name} is reached where DATA_DIR is now.`;
          tx.emit(record.deployment, [{ kind: "MOVED", message }]);
        });
    }
  }
  if (foreign.size === 0) return;
  logger.warn(
    { replicas: foreign.size },
    "DATA_DIR is a copy: replicas of the original are left alone, and started here anew",
  );
  await resetReplicas({
    store,
    now,
    chosen: ({ id }) => foreign.has(id),
    message: (name) => `${name} ran in another DATA_DIR, of which this one is a copy, and starts here anew.`,
  });
}
