import type { DeploymentStore } from "../store/deployment-store.ts";
import type { Reap } from "./reaper.ts";

const AT_ONCE = 50;

/**
 * Removes the process folders of deployments that failed for good, which were kept for a while for developers to inspect, but not the logs.
 * The deployment stays as it is.
 * @returns of how many deployments
 */
export async function reapFailed(options: {
  store: DeploymentStore;
  reap: Reap;
  /** Others look after their own. */
  hostId: string;
  /** Deployments that failed before this, in epoch milliseconds. */
  before: number;
  signal?: AbortSignal | undefined;
}): Promise<number> {
  const { store, reap, hostId, before, signal } = options;
  let count = 0;
  for (let after = ""; ;) {
    const records = await store.failedWithRemains({ before, after, limit: AT_ONCE });
    for (const { deployment, replicas } of records) {
      if (signal?.aborted) return count;
      const own = replicas.filter((replica) => replica.hostId === hostId);
      if (own.length === 0) continue;
      for (const replica of own)
        for (const old of [replica.handle, replica.previousHandle]) if (old) await reap(deployment, replica, old);
      await store.transaction(async (tx) => {
        const record = await tx.load(deployment.id);
        // It may have been started again meanwhile.
        if (!record || record.deployment.settledAt === null) return;
        for (const replica of record.replicas)
          if (replica.hostId === hostId) await tx.saveReplica({ ...replica, handle: null, previousHandle: null });
        await tx.saveDeployment(record.deployment);
      });
      count += 1;
    }
    const last = records.at(-1);
    if (!last || records.length < AT_ONCE) return count;
    after = last.deployment.id;
  }
}
