import { setImmediate as turn } from "node:timers/promises";
import type { Logger } from "@toolyard/service-kit";
import type { Replica } from "../deployment.ts";
import type { DeploymentRecord, DeploymentStore } from "../store/deployment-store.ts";

/**
 * The rows of unsettled deployments as last read. A sweep reads again only those written since. They may be out of date: read a row again
 * before changing anything by it.
 */
export interface KnownRecords {
  /** All that are unsettled now, by id. Yields to the event loop in between. */
  refresh(): Promise<DeploymentRecord[]>;
  /** The record as it is now. Null when there is none. */
  read(deploymentId: string): Promise<DeploymentRecord | null>;
  get(deploymentId: string): DeploymentRecord | undefined;
  all(): DeploymentRecord[];
  /** Whether the last `refresh` could read all rows. */
  isComplete(): boolean;
  /** Notes a probe of its process that is not written yet. */
  probed(replica: Replica, at: number): void;
}

/** Deployments that are worked on before the event loop has its turn: some milliseconds. */
export const AT_ONCE = 50;

export function createKnownRecords({
  store,
  logger,
}: {
  store: Pick<DeploymentStore, "load" | "loadMany" | "unsettled">;
  logger: Logger;
}): KnownRecords {
  const known = new Map<string, DeploymentRecord>();
  const damaged = new Set<string>();

  function keep(record: DeploymentRecord): DeploymentRecord {
    const { id, revision, settledAt } = record.deployment;
    const before = known.get(id);
    // A record that was read earlier may arrive later.
    if (before && before.deployment.revision > revision) return before;
    const replicas = record.replicas.map((replica) => {
      const { incarnation, lastProbeAt = null } = before?.replicas.find((each) => each.id === replica.id) ?? {};
      const isProbed = incarnation === replica.incarnation && lastProbeAt !== null;
      return isProbed ? { ...replica, lastProbeAt: Math.max(lastProbeAt, replica.lastProbeAt ?? 0) } : replica;
    });
    const kept = { ...record, replicas };
    if (settledAt === null) known.set(id, kept);
    else known.delete(id);
    return kept;
  }

  /** Without those whose rows are damaged. They are tried again by the next sweep, and logged once. */
  async function loadReadable(ids: readonly string[]): Promise<DeploymentRecord[]> {
    try {
      return await store.loadMany(ids);
    } catch {
      const found = await Promise.allSettled(ids.map((id) => store.load(id)));
      found.forEach(({ status }, index) => {
        const id = ids[index] ?? "";
        if (status === "fulfilled") damaged.delete(id);
        if (status === "fulfilled" || damaged.has(id)) return;
        damaged.add(id);
        logger.error({ deployment_id: id }, "a deployment's rows cannot be read; it is left alone");
      });
      return found.flatMap((each) => (each.status === "fulfilled" && each.value ? [each.value] : []));
    }
  }

  return {
    async refresh() {
      const revisions = await store.unsettled();
      const changed = revisions
        .filter(({ id, revision }) => known.get(id)?.deployment.revision !== revision)
        .map(({ id }) => id);
      for (let first = 0; first < changed.length; first += AT_ONCE) {
        for (const record of await loadReadable(changed.slice(first, first + AT_ONCE))) keep(record);
        await turn();
      }
      const unsettled = new Set(revisions.map(({ id }) => id));
      for (const id of known.keys()) if (!unsettled.has(id)) known.delete(id);
      for (const id of damaged) if (!unsettled.has(id)) damaged.delete(id);
      return [...known.values()];
    },
    async read(deploymentId) {
      const record = await store.load(deploymentId);
      return record && keep(record);
    },
    get: (deploymentId) => known.get(deploymentId),
    isComplete: () => damaged.size === 0,
    all: () => [...known.values()],
    probed({ deploymentId, id, incarnation }, at) {
      const record = known.get(deploymentId);
      if (!record) return;
      const replicas = record.replicas.map((replica) =>
        replica.id === id && replica.incarnation === incarnation ? { ...replica, lastProbeAt: at } : replica,
      );
      known.set(deploymentId, { ...record, replicas });
    },
  };
}
