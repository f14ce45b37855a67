import { setImmediate as turn } from "node:timers/promises";
import type { EventLog } from "@toolyard/events";
import { firstIdAt } from "@toolyard/service-kit";
import {
  countByParent,
  databaseFailureOf,
  deleteInChunks,
  dialectOf,
  readPage,
  readPageOfParts,
  readPagesByParent,
  type Database,
  type SqlTransaction,
} from "@toolyard/storage";
import { In, LessThan, MoreThan, Not, type EntityManager, type ObjectLiteral, type Repository } from "typeorm";
import type { QueryDeepPartialEntity } from "typeorm/query-builder/QueryPartialEntity.js";
import {
  deploymentEntity,
  HAS_REMAINS,
  healthCheckEntity,
  replicaEntity,
  TO_RUN,
  type ReplicaRow,
} from "../database.ts";
import {
  DEPLOYMENT_STATUSES,
  ENVIRONMENTS,
  type Deployment,
  type DeploymentEventPayload,
  type DeploymentStatus,
  type HealthEventPayload,
  type Replica,
} from "../deployment.ts";
import {
  PortTakenError,
  type DeploymentEventDraft,
  type DeploymentRecord,
  type DeploymentStore,
  type DeploymentTransaction,
} from "./deployment-store.ts";
import { createHealthCheckWriter, type HealthCheckWriter } from "./health-check-store.sql.ts";
import { saveInterface } from "../interfaces/interface-store.sql.ts";
import { candidatesOf, forgetStopped, holdPlaces, noteStopped } from "../routes/route-store.sql.ts";

export function createSqlDeploymentStore(options: {
  database: Database;
  events: EventLog<DeploymentEventPayload>;
  health: EventLog<HealthEventPayload>;
  /** Receives events once they are written. */
  onEvent?: (deployment: Deployment, event: DeploymentEventDraft) => void;
}): DeploymentStore {
  const { database, events, health, onEvent } = options;
  const deployments = () => database.read.getRepository(deploymentEntity);
  const replicas = () => database.read.getRepository(replicaEntity);
  const checks = createHealthCheckWriter();
  let counted: { sequence: number; counts: Map<DeploymentStatus, number> } | null = null;

  async function withReplicas(
    manager: EntityManager,
    found: DeploymentRecord["deployment"][],
  ): Promise<DeploymentRecord[]> {
    const rows = await findReplicas(
      manager,
      found.map(({ id }) => id),
    );
    const byDeployment = Map.groupBy(rows, ({ deploymentId }) => deploymentId);
    return found.map((deployment) => ({ deployment, replicas: byDeployment.get(deployment.id) ?? [] }));
  }

  const findMany = (ids: readonly string[]): Promise<Deployment[]> => deployments().findBy({ id: In([...ids]) });

  async function inPlace(toolIds: readonly string[]): Promise<Deployment[]> {
    const places = await candidatesOf(database.read, toolIds);
    return findMany(places.map(({ active, newest }) => active ?? newest));
  }

  return {
    transaction: (work, enter) =>
      database.transaction(async (tx) => {
        await enter?.(tx);
        const pending = createPendingEvents();
        const result = await work(createTransaction(tx, pending, checks));
        await events.append(tx, pending.deployment);
        await health.append(tx, pending.health);
        if (onEvent) tx.afterCommit(() => pending.drafts.forEach(([deployment, draft]) => onEvent(deployment, draft)));
        return result;
      }),
    find: (id) => deployments().findOneBy({ id }),
    findByName: (name) => deployments().findOneBy({ name }),
    async ofSlug(toolSlug) {
      const newest = (desired: Deployment["desired"]) =>
        deployments().find({ where: { toolSlug, desired }, order: { id: "DESC" }, take: 1 });
      const [running] = await newest("RUN");
      return running ? inPlace([running.toolId]) : newest("STOP");
    },
    newestNames: (limit) =>
      deployments().find({
        select: { id: true, name: true, toolSlug: true },
        order: { id: "DESC" },
        take: limit,
      }),
    findMany,
    async load(id) {
      const found = await deployments().findOneBy({ id });
      return found ? ((await withReplicas(database.read, [found]))[0] ?? null) : null;
    },
    page(filter, page) {
      const query = deployments().createQueryBuilder("deployment");
      const { toolId, templateId, ofTemplate, status, environment, includeFailed } = filter;
      if (toolId !== undefined) query.andWhere("deployment.toolId = :toolId", { toolId });
      if (templateId !== undefined) query.andWhere("deployment.templateId = :templateId", { templateId });
      if (ofTemplate) query.andWhere("deployment.templateId IS NOT NULL");
      if (status !== undefined) query.andWhere("deployment.status = :status", { status });
      if (environment !== undefined) query.andWhere("deployment.environment = :environment", { environment });
      if (includeFailed === false) query.andWhere("deployment.status != 'FAILED'");
      const { rows, totalCount } = readPage(query, page);
      const isByStatus = status !== undefined || includeFailed === false;
      const isInOrder = !isByStatus && (environment === undefined || toolId !== undefined);
      if (templateId !== undefined || ofTemplate || isInOrder) return { rows, totalCount };
      const parts = {
        environment: environment === undefined ? ENVIRONMENTS : [environment],
        status: DEPLOYMENT_STATUSES.filter(
          (each) => (status === undefined || each === status) && (includeFailed !== false || each !== "FAILED"),
        ),
      };
      const where = toolId === undefined ? {} : { toolId };
      return { rows: () => readPageOfParts(deployments(), page, { parts, where }), totalCount };
    },
    pagesOf: (parentColumn, ids, where, page) => readPagesByParent(deployments(), ids, page, { parentColumn, where }),
    countsOf: (parentColumn, ids, where) => countByParent(deployments(), ids, { parentColumn, where }),
    inPlace,
    async runningOf(toolId) {
      const running = await deployments().find({ select: { id: true }, where: { toolId, desired: "RUN" } });
      return running.map(({ id }) => id);
    },
    replicasOf: (deploymentIds) => findReplicas(database.read, deploymentIds),
    async loadMany(ids) {
      const found = await deployments().find({ where: { id: In([...ids]) }, order: { id: "ASC" } });
      return withReplicas(database.read, found);
    },
    unsettled: () =>
      deployments()
        .createQueryBuilder("deployment")
        .select("deployment.id", "id")
        .addSelect("deployment.revision", "revision")
        .where("deployment.settledAt IS NULL")
        .orderBy("deployment.id")
        .getRawMany<Pick<Deployment, "id" | "revision">>(),
    async hostIds() {
      const found: string[] = [];
      // From one to the next by the index: there are few hosts and many replicas.
      for (let last = ""; ; last = found.at(-1) ?? "") {
        const [next] = await replicas().find({
          where: { hostId: MoreThan(last) },
          order: { hostId: "ASC" },
          select: { id: true, hostId: true },
          take: 1,
        });
        if (!next) return found;
        found.push(next.hostId);
      }
    },
    async portsInUse(hostId) {
      const rows = await replicas()
        .createQueryBuilder("replica")
        .select("replica.port", "port")
        .where("replica.hostId = :hostId AND replica.port IS NOT NULL", { hostId })
        .getRawMany<{ port: number }>();
      return new Set(rows.map(({ port }) => port));
    },
    async replicaCounts(hostIds) {
      const counts = new Map<string, number>();
      for (const hostId of hostIds) counts.set(hostId, await replicas().countBy({ hostId }));
      return counts;
    },
    recordQuietProbes: (probes, enter) =>
      database.transaction(async (tx) => {
        await enter?.(tx);
        await checks.insertQuiet(tx.manager, probes);
      }),
    // Ids rise with the time of the check.
    trimHealthChecks: (before, work) =>
      deleteInChunks(database, healthCheckEntity, { id: LessThan(firstIdAt(before)) }, work),
    async healthChecksOf(deploymentIds, limit) {
      const checks = database.read.getRepository(healthCheckEntity);
      const page = { limit: limit - 1, afterId: null, offset: 0 };
      return readPagesByParent(checks, deploymentIds, page, { parentColumn: "deploymentId" });
    },
    async countByStatus() {
      // Every change of a status is an event. Read before the rows: changes in between are counted the next time.
      const sequence = await events.latest();
      if (counted?.sequence === sequence) return counted.counts;
      const counts = new Map<DeploymentStatus, number>();
      for (const status of DEPLOYMENT_STATUSES) {
        counts.set(status, await deployments().countBy({ status }));
        await turn();
      }
      counted = { sequence, counts };
      return counts;
    },
    async failedWithRemains({ before, after, limit }) {
      const remaining = replicas()
        .createQueryBuilder("replica")
        .select("replica.deploymentId")
        .where(`replica.phase = 'FAILED' AND (${HAS_REMAINS}) AND replica.deploymentId > :after`, { after });
      const found = await deployments()
        .createQueryBuilder("deployment")
        .where(`deployment.id IN (${remaining.getQuery()})`, remaining.getParameters())
        // Not by the index of settledAt, where everything is that ever ended.
        .andWhere(`${dialectOf(database.read).unindexed("deployment.settledAt")} < :before`, { before })
        .orderBy("deployment.id")
        .limit(limit)
        .getMany();
      return withReplicas(database.read, found);
    },
  };
}

interface PendingEvents {
  drafts: [Deployment, DeploymentEventDraft][];
  deployment: Parameters<EventLog<DeploymentEventPayload>["append"]>[1][number][];
  health: Parameters<EventLog<HealthEventPayload>["append"]>[1][number][];
}

function createPendingEvents(): PendingEvents {
  return { drafts: [], deployment: [], health: [] };
}

function createTransaction(
  { manager }: SqlTransaction,
  pending: PendingEvents,
  checks: HealthCheckWriter,
): DeploymentTransaction {
  return {
    async load(id) {
      const rows = manager.getRepository(deploymentEntity);
      const deployment = await rows.findOne({ where: { id }, ...dialectOf(manager).forUpdate });
      return deployment ? { deployment, replicas: await findReplicas(manager, [id]) } : null;
    },
    async hasActive(toolId, environment) {
      await holdPlaces(manager);
      return manager
        .getRepository(deploymentEntity)
        .createQueryBuilder("deployment")
        .where(TO_RUN)
        .andWhere({ toolId, environment, role: "ACTIVE" })
        .getExists();
    },
    async runningBefore({ toolId, environment, id }) {
      await holdPlaces(manager);
      const before = await manager.getRepository(deploymentEntity).find({
        select: { id: true },
        where: { toolId, desired: "RUN", environment, id: LessThan(id) },
        order: { id: "ASC" },
      });
      return before.map((each) => each.id);
    },
    async insertDeployment(deployment) {
      await manager.getRepository(deploymentEntity).insert(writable(deployment));
      await forgetStopped(manager, deployment);
    },
    async insertReplica(replica) {
      await holdingPort(manager, replica, (rows, row) => rows.insert(row));
    },
    async saveDeployment(deployment) {
      const { id, settledAt } = deployment;
      const revised = { ...writable(deployment), revision: () => '"revision" + 1' };
      await manager.getRepository(deploymentEntity).update({ id }, revised);
      if (settledAt !== null) await checks.prune(manager, id);
      if (deployment.desired === "STOP") await noteStopped(manager, deployment);
    },
    async saveReplica(replica) {
      if (replica.state.phase === "STOPPED") await manager.getRepository(replicaEntity).delete({ id: replica.id });
      else await holdingPort(manager, replica, (rows, row) => rows.update({ id: replica.id }, row));
    },
    async recordCheck(deployment, check, announce) {
      await checks.insert(manager, check);
      if (!announce) return;
      const payload: HealthEventPayload = { toolId: deployment.toolId, check };
      pending.health.push({ kind: check.status, subjectId: deployment.id, payload, at: check.at });
    },
    saveInterface: (write) => saveInterface(manager, write),
    emit(deployment, drafts) {
      pending.drafts.push(...drafts.map((draft): [Deployment, DeploymentEventDraft] => [deployment, draft]));
      const { id: subjectId, toolId, environment, status, health } = deployment;
      for (const { kind, message, words = null, data } of drafts)
        pending.deployment.push({
          kind,
          subjectId,
          payload: { toolId, environment, status, health, message, words, data: data ?? null },
        });
    },
  };
}

async function findReplicas(manager: EntityManager, deploymentIds: readonly string[]): Promise<Replica[]> {
  if (deploymentIds.length === 0) return [];
  const rows = await manager
    .getRepository(replicaEntity)
    .find({ where: { deploymentId: In([...deploymentIds]) }, order: { deploymentId: "ASC", ordinal: "ASC" } });
  return rows.map(({ phase: _phase, ...replica }) => replica);
}

function toRow(replica: Replica): ReplicaRow {
  return { ...replica, phase: replica.state.phase };
}

/** TypeORM's write types want deep partials of JSON columns, whose values are written whole. */
function writable<Row extends ObjectLiteral>(row: Row): QueryDeepPartialEntity<Row> {
  return row as QueryDeepPartialEntity<Row>;
}

/** @throws PortTakenError when another replica has the port */
async function holdingPort(
  manager: EntityManager,
  replica: Replica,
  write: (rows: Repository<ReplicaRow>, row: QueryDeepPartialEntity<ReplicaRow>) => Promise<unknown>,
): Promise<void> {
  const rows = manager.getRepository(replicaEntity);
  try {
    await write(rows, writable(toRow(replica)));
  } catch (cause) {
    const { id, hostId, port } = replica;
    const isPortTaken =
      databaseFailureOf(cause) === "unique-violation" &&
      port !== null &&
      (await rows.existsBy({ hostId, port, id: Not(id) }));
    throw isPortTaken ? new PortTakenError(hostId, { cause }) : cause;
  }
}
