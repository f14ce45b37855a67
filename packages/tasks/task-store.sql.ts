import { createEventLog, type EventLog, type WakeUpBus } from "@toolyard/events";
import { createSqlJobLeases } from "@toolyard/scheduler";
import { ToolyardError, mapRows, newId } from "@toolyard/service-kit";
import {
  countByParent,
  deleteInChunks,
  dialectOf,
  openStore,
  readPage,
  readPageOfParts,
  readPagesByParent,
  type ChildRows,
  type Database,
  type SqlTransaction,
  type StorePlace,
} from "@toolyard/storage";
import { In, IsNull, LessThan, type EntityManager, type Repository } from "typeorm";
import { entities, migrationsFolder, taskEntity, taskEventSchema, type TaskRow } from "./database.ts";
import {
  TASK_KINDS,
  TASK_STATUSES,
  type Task,
  type TaskError,
  type TaskEvent,
  type TaskKind,
  type TaskStatus,
} from "./task.ts";
import type { TaskResults } from "./task-results.ts";
import type { ClaimedTask, Lease, TaskStore } from "./task-store.ts";

/** Woken when there may be something to run or to cancel. */
export const TASK_WORK_TOPIC = "task-work";

const DEFAULT_MAX_ATTEMPTS = 3;
/** Results are written before their tasks end: none of a task that is kept is so much older. */
const RESULT_SLACK_MS = 86_400_000;

const LOST_WORKER: TaskError = {
  code: "INTERNAL_SERVER_ERROR",
  message: "In every attempt, the process that ran this task ended before the task was done.",
};

/** Opens the installation's store of tasks. Several processes may have it open. */
export async function createTaskStore(options: StorePlace & Omit<TaskStoreOptions, "database">): Promise<TaskStore> {
  return createSqlTaskStore({
    ...options,
    database: await openStore(options, { name: "tasks", entities, migrationsFolder }),
  });
}

interface TaskStoreOptions {
  /** Closed with the store. */
  database: Database;
  bus: WakeUpBus;
  /** Null: results are in the tasks' rows. */
  results?: TaskResults | null;
  now?: () => number;
}

export function createSqlTaskStore(options: TaskStoreOptions): TaskStore {
  const { database, bus, results = null, now = Date.now } = options;
  const events: EventLog<TaskEvent> = createEventLog<TaskEvent>({
    database,
    schema: taskEventSchema,
    bus,
    now,
  });
  const wakeWorkers = (tx: SqlTransaction) => tx.afterCommit(() => bus.wake(TASK_WORK_TOPIC));

  const transitions: Record<TaskStatus, number> = { QUEUED: 0, RUNNING: 0, SUCCEEDED: 0, FAILED: 0, CANCELLED: 0 };

  /** Writes a change and its event. */
  async function change(tx: SqlTransaction, row: TaskRow, kind: string, changes: Partial<TaskRow>): Promise<TaskRow> {
    const next: TaskRow = { ...row, ...changes };
    await tx.manager.getRepository(taskEntity).update({ id: row.id }, updateOf(changes));
    await events.append(tx, [{ kind, subjectId: row.id, payload: toEvent(next) }]);
    if (next.status !== row.status) tx.afterCommit(() => transitions[next.status]++);
    return next;
  }

  /** Runs `work` on the row of the lease; answers false when the lease is lost. */
  function withLease(lease: Lease, work: (tx: SqlTransaction, row: TaskRow) => Promise<unknown>): Promise<boolean> {
    return database.transaction(async (tx) => {
      const row = await findLeased(tx.manager, lease);
      if (!row) return false;
      await work(tx, row);
      return true;
    });
  }

  const end = (tx: SqlTransaction, row: TaskRow, status: TaskStatus, changes: Partial<TaskRow> = {}) =>
    change(tx, row, status.toLowerCase(), {
      ...changes,
      status,
      leaseId: null,
      finishedAt: now(),
      message: null,
      cancelRequested: row.cancelRequested || status === "CANCELLED",
    });

  const failed = (tx: SqlTransaction, row: TaskRow, error: TaskError) =>
    row.cancelRequested
      ? end(tx, row, "CANCELLED")
      : end(tx, row, "FAILED", { errorCode: error.code, errorMessage: error.message });

  const queueAgain = (tx: SqlTransaction, row: TaskRow, kind: string, changes: Partial<TaskRow>) => {
    wakeWorkers(tx);
    return change(tx, row, kind, { status: "QUEUED", leaseId: null, startedAt: null, progress: 0, ...changes });
  };

  async function keptApart(ids: readonly string[]): Promise<Map<string, unknown>> {
    if (ids.length === 0) return new Map();
    if (!results) {
      const message = "The results of these tasks are in MongoDB, and MONGODB_URL is not set.";
      throw new ToolyardError("UPSTREAM_UNAVAILABLE", message);
    }
    const found = await results.read(ids);
    const missing = ids.find((id) => !found.has(id));
    if (missing !== undefined)
      throw new Error(`The task result ${missing} is not in MongoDB: MONGODB_URL may name another than before.`);
    return found;
  }

  /** The task due longest, after ending those that must not run again. */
  async function nextRunnable(tx: SqlTransaction, kinds: readonly TaskKind[]): Promise<TaskRow | null> {
    const tasks = tx.manager.getRepository(taskEntity);
    for (;;) {
      const row = (await firstDue(tasks, "RUNNING", kinds, now())) ?? (await firstDue(tasks, "QUEUED", kinds, now()));
      if (!row) return null;
      // Another process may have it by now.
      if (!(await held(tx, row))) continue;
      if (await mayRun(tx, row)) return row;
    }
  }

  /** Ends a task that is due and must not run again. */
  async function mayRun(tx: SqlTransaction, row: TaskRow): Promise<boolean> {
    if (row.cancelRequested) await end(tx, row, "CANCELLED");
    else if (row.status === "RUNNING" && row.attempts >= row.maxAttempts) await failed(tx, row, LOST_WORKER);
    else return true;
    return false;
  }

  async function start(tx: SqlTransaction, row: TaskRow, leaseMs: number): Promise<ClaimedTask> {
    const leaseId = newId();
    const startedAt = now();
    const claimed = await change(tx, row, "started", {
      status: "RUNNING",
      leaseId,
      startedAt,
      dueAt: startedAt + leaseMs,
      attempts: row.attempts + 1,
      progress: 0,
      message: null,
    });
    return { task: toTask(claimed), lease: { taskId: row.id, leaseId } };
  }

  return {
    events,
    insert: (task) =>
      database.transaction(async (tx) => {
        const at = now();
        const row: TaskRow = {
          id: newId(),
          kind: task.kind,
          status: "QUEUED",
          progress: 0,
          message: null,
          input: task.input,
          resultId: null,
          errorCode: null,
          errorMessage: null,
          attempts: 0,
          maxAttempts: task.maxAttempts ?? DEFAULT_MAX_ATTEMPTS,
          requestedById: task.requestedById,
          toolId: task.toolId ?? null,
          ownerId: task.ownerId ?? null,
          cancelRequested: false,
          createdAt: at,
          startedAt: null,
          finishedAt: null,
          dueAt: at,
          leaseId: null,
        };
        wakeWorkers(tx);
        await tx.manager.getRepository(taskEntity).insert(updateOf(row));
        await events.append(tx, [{ kind: "queued", subjectId: row.id, payload: toEvent(row) }]);
        tx.afterCommit(() => transitions.QUEUED++);
        return toTask(row);
      }),
    async getMany(ids) {
      const rows = await database.read.getRepository(taskEntity).findBy({ id: In([...ids]) });
      const byId = new Map(rows.map((row) => [row.id, row]));
      return ids.map((id) => {
        const row = byId.get(id);
        return row ? toTask(row) : null;
      });
    },
    async resultsOf(ids) {
      const rows = await database.read.getRepository(taskEntity).find({
        where: { id: In([...ids]) },
        select: { id: true, result: true, resultId: true },
      });
      const apart = await keptApart(rows.flatMap(({ resultId }) => resultId ?? []));
      const byId = new Map(
        rows.map(({ id, result, resultId }) => [id, resultId === null ? result : apart.get(resultId)]),
      );
      return ids.map((id) => byId.get(id) ?? null);
    },
    list(filter, page) {
      const query = database.read.getRepository(taskEntity).createQueryBuilder("task");
      if (filter.status) query.andWhere("task.status = :status", { status: filter.status });
      if (filter.kind) query.andWhere("task.kind = :kind", { kind: filter.kind });
      if (filter.toolId) query.andWhere("task.toolId = :toolId", { toolId: filter.toolId });
      const { rows, totalCount } = readPage(query, page);
      const { status, kind, toolId } = filter;
      // An index has these rows in their order.
      if (!status && (toolId || !kind)) return mapRows({ rows, totalCount }, toTask);
      const parts = { kind: kind ? [kind] : TASK_KINDS, status: status ? [status] : TASK_STATUSES };
      const where = toolId ? { toolId } : {};
      const found = () => readPageOfParts(database.read.getRepository(taskEntity), page, { parts, where });
      return mapRows({ rows: found, totalCount }, toTask);
    },
    async pagesOfTools(toolIds, kind, page) {
      const pages = await readPagesByParent(database.read.getRepository(taskEntity), toolIds, page, ofTools(kind));
      return pages.map((rows) => rows.map(toTask));
    },
    countsOfTools: (toolIds, kind) => countByParent(database.read.getRepository(taskEntity), toolIds, ofTools(kind)),
    transitions,
    async countByStatus() {
      const found = await database.read
        .getRepository(taskEntity)
        .createQueryBuilder("task")
        .select("task.status", "status")
        .addSelect("COUNT(*)", "count")
        .groupBy("task.status")
        .getRawMany<{ status: TaskStatus; count: number | string }>();
      const counts = new Map(found.map(({ status, count }) => [status, Number(count)]));
      return {
        QUEUED: 0,
        RUNNING: 0,
        SUCCEEDED: 0,
        FAILED: 0,
        CANCELLED: 0,
        ...Object.fromEntries(TASK_STATUSES.map((status) => [status, counts.get(status) ?? 0])),
      };
    },
    claim: (kinds, leaseMs) =>
      database.transaction(async (tx) => {
        if (kinds.length === 0) return null;
        const row = await nextRunnable(tx, kinds);
        return row && start(tx, row, leaseMs);
      }),
    take: (id, leaseMs) =>
      database.transaction(async (tx) => {
        const tasks = tx.manager.getRepository(taskEntity);
        const row = await tasks.findOne({ where: { id }, ...dialectOf(tx.manager).forUpdate });
        if (!row || (row.status !== "QUEUED" && row.status !== "RUNNING")) return null;
        if (row.dueAt > now()) return { dueAt: row.dueAt };
        return (await mayRun(tx, row)) ? start(tx, row, leaseMs) : null;
      }),
    async nextDueAt(kinds) {
      if (kinds.length === 0) return null;
      const part = dialectOf(database.read).rows("?", "part", ["text", "text"]);
      const [found] = await database.read.query<{ dueAt: number | null }[]>(
        `SELECT MIN((SELECT MIN(task."dueAt") FROM tasks task WHERE task.status = ${part.at(0)} AND task.kind = ${part.at(1)})) AS "dueAt"
         FROM ${part.from}`,
        [JSON.stringify(["QUEUED", "RUNNING"].flatMap((status) => kinds.map((kind) => [status, kind])))],
      );
      return found?.dueAt ?? null;
    },
    heartbeat: (lease, leaseMs) =>
      database.transaction(async ({ manager }) => {
        const { affected } = await manager
          .getRepository(taskEntity)
          .update({ id: lease.taskId, leaseId: lease.leaseId, status: "RUNNING" }, { dueAt: now() + leaseMs });
        return affected === 1;
      }),
    async inspect(leases) {
      const rows = await database.read.getRepository(taskEntity).find({
        where: { id: In(leases.map((lease) => lease.taskId)) },
        select: { id: true, leaseId: true, cancelRequested: true },
      });
      const byLease = new Map(rows.map((row) => [row.leaseId, row]));
      return {
        lost: leases.filter((lease) => !byLease.has(lease.leaseId)),
        cancelled: leases.filter((lease) => byLease.get(lease.leaseId)?.cancelRequested),
      };
    },
    progress: (lease, progress, message) =>
      withLease(lease, (tx, row) => change(tx, row, "progress", { progress, message })),
    async succeed(lease, result) {
      const value = result ?? null;
      const resultId = results === null || value === null ? null : newId();
      // First, so that nobody sees the task without it.
      if (resultId !== null) await results?.write({ id: resultId, taskId: lease.taskId, value, at: now() });
      const kept = resultId === null ? { result: value } : { resultId };
      return withLease(lease, (tx, row) =>
        row.cancelRequested ? end(tx, row, "CANCELLED") : end(tx, row, "SUCCEEDED", { ...kept, progress: 1 }),
      );
    },
    fail: (lease, error) => withLease(lease, (tx, row) => failed(tx, row, error)),
    retry: (lease, error, runAt) =>
      withLease(lease, (tx, row) =>
        row.cancelRequested || row.attempts >= row.maxAttempts
          ? failed(tx, row, error)
          : queueAgain(tx, row, "retrying", {
              dueAt: runAt,
              message: `Attempt ${row.attempts} of ${row.maxAttempts} failed and is repeated: ${error.message}`,
            }),
      ),
    release: (lease) =>
      withLease(lease, (tx, row) =>
        row.cancelRequested
          ? end(tx, row, "CANCELLED")
          : queueAgain(tx, row, "released", { dueAt: now(), attempts: row.attempts - 1, message: null }),
      ),
    cancelled: (lease) => withLease(lease, (tx, row) => end(tx, row, "CANCELLED")),
    requestCancel: (id) =>
      database.transaction(async (tx) => {
        const tasks = tx.manager.getRepository(taskEntity);
        const row = await tasks.findOne({ where: { id }, ...dialectOf(tx.manager).forUpdate });
        if (!row) return null;
        if (row.status !== "QUEUED" && row.status !== "RUNNING") return toTask(row);
        if (row.status === "QUEUED" || row.dueAt <= now()) return toTask(await end(tx, row, "CANCELLED"));
        if (row.cancelRequested) return toTask(row);
        wakeWorkers(tx);
        return toTask(
          await change(tx, row, "cancelling", { cancelRequested: true, message: "It is being cancelled." }),
        );
      }),
    async trim(at, work) {
      await events.trim(at, work);
      const removed = await deleteInChunks(database, taskEntity, { finishedAt: LessThan(at) }, work);
      await results?.trim(at - RESULT_SLACK_MS, work?.signal);
      return removed;
    },
    leases: createSqlJobLeases(database),
    ping: () => database.ping(),
    close: () => database.close(),
  };
}

function findLeased(manager: EntityManager, { taskId, leaseId }: Lease): Promise<TaskRow | null> {
  const where = { id: taskId, leaseId, status: "RUNNING" } as const;
  return manager.getRepository(taskEntity).findOne({ where, ...dialectOf(manager).forUpdate });
}

/** Whether a row is still as it was read; it stays so until the transaction ends. */
function held({ manager }: SqlTransaction, row: TaskRow): Promise<boolean> {
  const { id, status, dueAt, cancelRequested } = row;
  const leaseId = row.leaseId ?? IsNull();
  const where = { id, status, dueAt, leaseId, cancelRequested };
  return manager
    .getRepository(taskEntity)
    .findOne({ select: { id: true }, where, ...dialectOf(manager).forUpdate })
    .then((found) => found !== null);
}

function ofTools(kind: TaskKind | null): ChildRows<TaskRow> {
  return { parentColumn: "toolId", where: { kind: kind ?? undefined } };
}

/** The first of the first tasks of each kind, by the index: the number of waiting tasks does not matter. */
function firstDue(
  tasks: Repository<TaskRow>,
  status: TaskStatus,
  kinds: readonly TaskKind[],
  at: number,
): Promise<TaskRow | null> {
  const query = tasks
    .createQueryBuilder("task")
    .setParameters({ status, at })
    .orderBy("task.dueAt")
    .addOrderBy("task.id")
    .limit(1);
  dialectOf(tasks.manager).whereFirstOfEach(query, {
    table: taskEntity.options.name,
    key: "id",
    parts: kinds.map((kind) => [kind]),
    childrenOf: (kind) =>
      `WHERE child.status = :status AND child.kind = ${kind(0)} AND child."dueAt" <= :at ORDER BY child."dueAt", child.id LIMIT 1`,
  });
  return query.getOne();
}

/** TypeORM's types want deep partials where a column holds any JSON. */
function updateOf(changes: Partial<TaskRow>): Omit<Partial<TaskRow>, "input" | "result"> {
  return changes;
}

function toTask(row: TaskRow): Task {
  const {
    errorCode,
    errorMessage,
    dueAt: _dueAt,
    leaseId: _leaseId,
    result: _result,
    resultId: _resultId,
    ...task
  } = row;
  return { ...task, error: errorCode === null ? null : { code: errorCode, message: errorMessage ?? "" } };
}

function toEvent({ kind, status, progress, message, attempts, toolId }: TaskRow): TaskEvent {
  return { kind, status, progress, message, attempts, toolId };
}
