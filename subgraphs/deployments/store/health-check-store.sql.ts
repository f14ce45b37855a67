import type { EntityManager } from "typeorm";
import { healthCheckEntity } from "../database.ts";
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
    await manager.query(
      `DELETE FROM "health_checks" WHERE "deploymentId" = ? AND "id" < (
         SELECT "id" FROM "health_checks" WHERE "deploymentId" = ? ORDER BY "id" DESC LIMIT 1 OFFSET ${KEPT_CHECKS - 1})`,
      [deploymentId, deploymentId],
    );
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
      const given = [JSON.stringify(probes)];
      await manager.query(
        `INSERT INTO "health_checks" ("id", "deploymentId", "replicaId", "at", "status", "kind", "latencyMs", "detail", "words")
         SELECT value ->> '$.check.id', "deploymentId", "replicas"."id", value ->> '$.check.at', value ->> '$.check.status',
           value ->> '$.check.kind', value ->> '$.check.latencyMs', value ->> '$.check.detail', value ->> '$.check.words'
         FROM json_each(?) CROSS JOIN "replicas"
           ON "replicas"."id" = value ->> '$.replicaId' AND "incarnation" = value ->> '$.incarnation'`,
        given,
      );
      await manager.query(
        `UPDATE "replicas" SET "lastProbeAt" = "probe"."at"
         FROM (SELECT value ->> '$.replicaId' AS "id", value ->> '$.incarnation' AS "of", max(value ->> '$.check.at') AS "at"
           FROM json_each(?) GROUP BY 1, 2) AS "probe"
         WHERE "replicas"."id" = "probe"."id" AND "incarnation" = "probe"."of"`,
        given,
      );
      await manager.query(
        `UPDATE "deployments" SET "lastHealthCheckAt" = "probe"."at"
         FROM (SELECT "deploymentId" AS "id", max(value ->> '$.check.at') AS "at"
           FROM json_each(?) CROSS JOIN "replicas"
             ON "replicas"."id" = value ->> '$.replicaId' AND "incarnation" = value ->> '$.incarnation'
           GROUP BY 1) AS "probe"
         WHERE "deployments"."id" = "probe"."id" AND coalesce("lastHealthCheckAt", 0) < "probe"."at"`,
        given,
      );
      await count(
        manager,
        probes.map(({ check }) => check.deploymentId),
      );
    },
  };
}
