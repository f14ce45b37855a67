import type { Database } from "@toolyard/storage";
import { And, In, LessThan, MoreThanOrEqual, type EntityManager } from "typeorm";
import { deploymentEntity, lastStoppedEntity, TO_RUN } from "../database.ts";
import type { Deployment } from "../deployment.ts";
import type { Candidates, RouteStore } from "./route-store.ts";

export function createSqlRouteStore({ read }: Database): RouteStore {
  const stopped = read.getRepository(lastStoppedEntity);
  const toRun = () => read.getRepository(deploymentEntity).createQueryBuilder("deployment").where(TO_RUN);
  return {
    runningAfter: (id, limit) =>
      toRun().andWhere("deployment.id > :id", { id }).orderBy("deployment.id").limit(limit).getMany(),
    candidates: (toolIds) =>
      toRun()
        .andWhere("deployment.toolId IN (:...toolIds)", { toolIds })
        .select("deployment.toolId", "toolId")
        .addSelect("deployment.environment", "environment")
        .addSelect("MAX(deployment.id)", "newest")
        .addSelect("MAX(CASE WHEN deployment.role = 'ACTIVE' THEN deployment.id END)", "active")
        .addSelect("MAX(CASE WHEN deployment.status = 'STARTING' THEN deployment.id END)", "starting")
        .groupBy("deployment.toolId")
        .addGroupBy("deployment.environment")
        .getRawMany<Candidates>(),
    stoppedOf: (toolIds) => stopped.findBy({ toolId: In([...toolIds]) }),
    stoppedFrom: (deploymentId, limit, before) =>
      stopped.find({
        where: {
          deploymentId:
            before === undefined ? MoreThanOrEqual(deploymentId) : And(MoreThanOrEqual(deploymentId), LessThan(before)),
        },
        order: { deploymentId: "ASC" },
        take: limit,
      }),
    async stoppedFloor(count) {
      const [row] = await stopped.find({
        select: { deploymentId: true },
        order: { deploymentId: "DESC" },
        skip: count - 1,
        take: 1,
      });
      return row?.deploymentId ?? "";
    },
  };
}

/** Something is to run there again. */
export async function forgetStopped(manager: EntityManager, { toolId, environment }: Deployment): Promise<void> {
  await manager.getRepository(lastStoppedEntity).delete({ toolId, environment });
}

/** Writes that this deployment was the last of its tool and environment, if it is; one that is written stays. */
export async function noteStopped(manager: EntityManager, { id, toolId, environment }: Deployment): Promise<void> {
  const rows = manager.getRepository(lastStoppedEntity);
  if (await rows.existsBy({ toolId, environment })) return;
  const isServed = await manager
    .getRepository(deploymentEntity)
    .createQueryBuilder("deployment")
    .where(TO_RUN)
    .andWhere({ toolId, environment })
    .getExists();
  if (!isServed) await rows.insert({ toolId, environment, deploymentId: id });
}
