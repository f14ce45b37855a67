import { dialectOf, insertRows, updateColumn } from "@toolyard/storage";
import { In, LessThan, type EntityManager } from "typeorm";
import { deploymentEntity, healthCheckEntity, replicaEntity } from "../database.ts";
import type { HealthCheck } from "../deployment.ts";
import type { QuietProbe } from "./deployment-store.ts";

/** Of each deployment, at least. */
const KEPT_CHECKS = 100;
/** So many more are written before the oldest go: one statement for all of them. */
const WRITTEN_BETWEEN_REMOVALS = 50;

export interface HealthCheckWriter {
  insert(manager: EntityManager, check: HealthCheck): Promise<void>;
  /** As `recordQuietProbes` of the store. */
  insertQuiet(manager: EntityManager, probes: readonly QuietProbe[]): Promise<void>;
  /** Removes all but those that are kept: of one that ended. */
  prune(manager: EntityManager, deploymentId: string): Promise<void>;
}

export function createHealthCheckWriter(): HealthCheckWriter {
  /** How many were written of a deployment since its oldest were removed. */
  const written = new Map<string, number>();

  async function prune(manager: EntityManager, deploymentId: string): Promise<void> {
    written.delete(deploymentId);
    const checks = manager.getRepository(healthCheckEntity);
    const [oldest] = await checks.find({
      select: { id: true },
      where: { deploymentId },
      order: { id: "DESC" },
      skip: KEPT_CHECKS - 1,
      take: 1,
    });
    if (oldest) await checks.delete({ deploymentId, id: LessThan(oldest.id) });
  }

  async function count(manager: EntityManager, deploymentIds: readonly string[]): Promise<void> {
    for (const id of deploymentIds) {
      const total = (written.get(id) ?? 0) + 1;
      if (total >= WRITTEN_BETWEEN_REMOVALS) await prune(manager, id);
      else written.set(id, total);
    }
  }

  return {
    prune,
    async insert(manager, check) {
      await manager.getRepository(healthCheckEntity).insert(check);
      await count(manager, [check.deploymentId]);
    },
    async insertQuiet(manager, probes) {
      const replicas = await manager.getRepository(replicaEntity).find({
        select: { id: true, incarnation: true },
        where: { id: In(probes.map(({ replicaId }) => replicaId)) },
        order: { id: "ASC" },
        ...dialectOf(manager).forUpdate,
      });
      const incarnations = new Map(replicas.map(({ id, incarnation }) => [id, incarnation]));
      const standing = probes.filter(({ replicaId, incarnation }) => incarnations.get(replicaId) === incarnation);
      await insertRows(
        manager,
        healthCheckEntity,
        standing.map(({ check }) => check),
      );
      await updateColumn(
        manager,
        replicaEntity,
        "lastProbeAt",
        newestOf(standing, ({ replicaId }) => replicaId),
      );
      const ofDeployments = newestOf(standing, ({ check }) => check.deploymentId);
      await updateColumn(manager, deploymentEntity, "lastHealthCheckAt", ofDeployments, { onlyHigher: true });
      await count(
        manager,
        standing.map(({ check }) => check.deploymentId),
      );
    },
  };
}

/** When the last probe of each was. */
function newestOf(probes: readonly QuietProbe[], keyOf: (probe: QuietProbe) => string): Map<string, number> {
  const newest = new Map<string, number>();
  for (const probe of probes) newest.set(keyOf(probe), Math.max(newest.get(keyOf(probe)) ?? 0, probe.check.at));
  return newest;
}
