import { dialectOf, insertIfAbsent, type Database } from "@toolyard/storage";
import { And, In, LessThan, MoreThanOrEqual, type EntityManager } from "typeorm";
import { deploymentEntity, lastStoppedEntity, TO_RUN } from "../database.ts";
import { ENVIRONMENTS, type Deployment } from "../deployment.ts";
import type { Candidates, RouteStore } from "./route-store.ts";

export function createSqlRouteStore({ read }: Database): RouteStore {
  const stopped = read.getRepository(lastStoppedEntity);
  const toRun = () => read.getRepository(deploymentEntity).createQueryBuilder("deployment").where(TO_RUN);
  return {
    runningAfter: (id, limit) =>
      toRun().andWhere("deployment.id > :id", { id }).orderBy("deployment.id").limit(limit).getMany(),
    candidates: (toolIds) => candidatesOf(read, toolIds),
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

/** As `RouteStore.candidates`. */
export async function candidatesOf(manager: EntityManager, toolIds: readonly string[]): Promise<Candidates[]> {
  const places = toolIds.flatMap((toolId) => ENVIRONMENTS.map((environment) => [toolId, environment]));
  const dialect = dialectOf(manager);
  const place = dialect.rows("?", "k", ["text", "text"]);
  // A tool may have any number of deployments: each is found at its end of an index.
  const newestAt = (condition: string) => `(SELECT d.id FROM deployments d WHERE d."toolId" = ${place.at(0)}
    AND d.environment = ${place.at(1)} AND ${condition} ORDER BY d.id DESC LIMIT 1)`;
  // By the index of statuses, not by that of what is to run, which has it among all others.
  const starting = `${dialect.unindexed(`d.${TO_RUN}`)} AND d.status = 'STARTING'`;
  const found = await manager.query<(Candidates | { newest: null })[]>(
    `SELECT ${place.at(0)} AS "toolId", ${place.at(1)} AS "environment", ${newestAt(`d.${TO_RUN}`)} AS "newest",
       ${newestAt(`d.${TO_RUN} AND d.role = 'ACTIVE'`)} AS "active", ${newestAt(starting)} AS "starting" FROM ${place.from}`,
    [JSON.stringify(places)],
  );
  return found.filter((each) => each.newest !== null);
}

/** What runs of a tool, and has its routes, is for one transaction at a time to look at and change. */
export function holdPlaces(manager: EntityManager): Promise<void> {
  return dialectOf(manager).lock(manager, "places");
}

/** Something is to run there again. */
export async function forgetStopped(manager: EntityManager, { toolId, environment }: Deployment): Promise<void> {
  await holdPlaces(manager);
  await manager.getRepository(lastStoppedEntity).delete({ toolId, environment });
}

/** Writes that this deployment was the last of its tool and environment, if it is; one that is written stays. */
export async function noteStopped(manager: EntityManager, { id, toolId, environment }: Deployment): Promise<void> {
  await holdPlaces(manager);
  const isServed = await manager
    .getRepository(deploymentEntity)
    .createQueryBuilder("deployment")
    .where(TO_RUN)
    .andWhere({ toolId, environment })
    .getExists();
  if (!isServed) await insertIfAbsent(manager, lastStoppedEntity, { toolId, environment, deploymentId: id });
}
