import type { Database } from "@toolyard/storage";
import { And, In, LessThan, MoreThanOrEqual, type EntityManager } from "typeorm";
import { deploymentEntity, lastStoppedEntity, TO_RUN } from "../database.ts";
import { ENVIRONMENTS, type Deployment } from "../deployment.ts";
import type { Candidates, RouteStore } from "./route-store.ts";

const newestAt = (condition: string) => `(SELECT d.id FROM deployments d WHERE d."toolId" = k.value->>0
  AND d.environment = k.value->>1 AND ${condition} ORDER BY d.id DESC LIMIT 1)`;
/**
 * `?`: JSON of [toolId, environment] for each. A tool may have any number of deployments: each is found at its end of an index. `+`: the
 * newest that is STARTING by the index of statuses, not by that of what is to run, which has it among all others.
 */
const CANDIDATES = `SELECT k.value->>0 AS "toolId", k.value->>1 AS "environment", ${newestAt(`d.${TO_RUN}`)} AS "newest",
  ${newestAt(`d.${TO_RUN} AND d.role = 'ACTIVE'`)} AS "active", ${newestAt(`+d.${TO_RUN} AND d.status = 'STARTING'`)} AS "starting" FROM json_each(?) k`;

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
  const found = await manager.query<(Candidates | { newest: null })[]>(CANDIDATES, [JSON.stringify(places)]);
  return found.filter((each) => each.newest !== null);
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
