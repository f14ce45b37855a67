import { createEventLog, type EventLog, type WakeUpBus } from "@toolyard/events";
import { createApartReader } from "@toolyard/mongodb/kept-apart.ts";
import { createSqlJobLeases } from "@toolyard/scheduler";
import { mapRows, newId, type Logger } from "@toolyard/service-kit";
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
  type StorePlace,
} from "@toolyard/storage";
import { In, LessThan } from "typeorm";
import { entities, migrationsFolder, taskEntity, taskEventSchema, type TaskRow } from "./database.ts";
import {
  begun,
  cancelled,
  cancelRequested,
  failed,
  progressed,
  queued,
  released,
  renewed,
  retried,
  succeeded,
  type Change,
} from "./task-changes.ts";
import { TASK_KINDS, TASK_STATUSES, type Task, type TaskEvent, type TaskKind, type TaskStatus } from "./task.ts";
import type { TaskResults } from "./task-results.ts";
import type { ClaimedTask, Lease, TaskStore } from "./task-store.ts";
import { createTaskWriter, partsOfOpen } from "./task-writer.sql.ts";

/** Woken when there may be something to run. */
export const TASK_WORK_TOPIC = "task-work";
/** Woken when a task that runs is to be cancelled. */
export const TASK_CANCEL_TOPIC = "task-cancel";

/** Results are written before their tasks end: none of a task that is kept is so much older. */
const RESULT_SLACK_MS = 86_400_000;

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
  /** Is told of results that are missing. */
  logger?: Pick<Logger, "error"> | undefined;
  now?: () => number;
}

export function createSqlTaskStore(options: TaskStoreOptions): TaskStore {
  const { database, bus, results = null, logger, now = Date.now } = options;
  const readResults = createApartReader({ read: results?.read, what: "results of tasks", logger });
  const events: EventLog<TaskEvent> = createEventLog<TaskEvent>({
    database,
    schema: taskEventSchema,
    bus,
    now,
  });
  const transitions: Record<TaskStatus, number> = { QUEUED: 0, RUNNING: 0, SUCCEEDED: 0, FAILED: 0, CANCELLED: 0 };
  const writer = createTaskWriter({
    database,
    events,
    changed(changes) {
      for (const { before, row } of changes) if (row.status !== before) transitions[row.status]++;
      if (changes.some(({ row }) => row.status === "QUEUED")) bus.wake(TASK_WORK_TOPIC);
      if (changes.some(({ row }) => row.status === "RUNNING" && row.cancelRequested)) bus.wake(TASK_CANCEL_TOPIC);
    },
  });

  /** Changes the row of the lease; answers false when the lease is lost. */
  async function withLease(
    { taskId, leaseId }: Lease,
    decide: (row: TaskRow, at: number) => Change,
    payload?: unknown,
    withinMs?: number,
  ): Promise<boolean> {
    let isHeld = false;
    const ofLease = (row: TaskRow | null) => {
      isHeld = row?.leaseId === leaseId && row.status === "RUNNING";
      return row && isHeld ? decide(row, now()) : null;
    };
    await writer.change(taskId, ofLease, payload, withinMs);
    return isHeld;
  }

  return {
    events,
    async insert(task) {
      const row = queued(task, now());
      await writer.insert(row);
      return toTask(row);
    },
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
      const apart = await readResults(rows.flatMap(({ resultId }) => resultId ?? []));
      const byId = new Map(rows.map(({ id, result, resultId }) => [id, resultId === null ? result : apart(resultId)]));
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
    async claim(room, leaseMs, atOnce) {
      const at = now();
      const rows = await writer.claim({ room, atOnce, leaseMs, at });
      // As of the run that it is claimed for.
      return rows.map((row) => toClaimed(begun(row, at)));
    },
    async nextDueAt(kinds) {
      if (kinds.length === 0) return null;
      const part = dialectOf(database.read).rows("?", "part", ["text", "text", "integer"]);
      const [found] = await database.read.query<{ dueAt: number | null }[]>(
        `SELECT MIN((SELECT MIN(task."dueAt") FROM tasks task WHERE task.status = ${part.at(0)} AND task.kind = ${part.at(1)} AND task.priority = ${part.at(2)})) AS "dueAt"
         FROM ${part.from}`,
        [JSON.stringify(partsOfOpen(kinds))],
      );
      return found?.dueAt ?? null;
    },
    heartbeat: (lease, leaseMs) => withLease(lease, (row, at) => renewed(row, leaseMs, at)),
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
    progress: (lease, progress, message) => withLease(lease, (row, at) => progressed(row, progress, message, at)),
    async succeed(lease, result, withinMs) {
      const value = result ?? null;
      const resultId = results === null || value === null ? null : newId();
      // First, so that nobody sees the task without it.
      if (resultId !== null) await results?.write({ id: resultId, taskId: lease.taskId, value, at: now() });
      const kept = resultId === null ? { result: value } : { resultId };
      return withLease(lease, (row, at) => succeeded(begun(row, at), kept, at), kept, withinMs);
    },
    fail: (lease, error) => withLease(lease, (row, at) => failed(begun(row, at), error, at)),
    retry: (lease, error, runAt) => withLease(lease, (row, at) => retried(begun(row, at), error, runAt, at)),
    release: (lease) => withLease(lease, released),
    cancelled: (lease) => withLease(lease, (row, at) => cancelled(begun(row, at), at)),
    async requestCancel(id) {
      let task: Task | null = null;
      await writer.change(id, (row) => {
        const change = row && cancelRequested(row, now());
        const last = change?.row ?? row;
        task = last && toTask(last);
        return change;
      });
      return task;
    },
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

function ofTools(kind: TaskKind | null): ChildRows<TaskRow> {
  return { parentColumn: "toolId", where: { kind: kind ?? undefined } };
}

function toTask(row: TaskRow): Task {
  const {
    errorCode,
    errorMessage,
    dueAt: _dueAt,
    priority: _priority,
    leaseId: _leaseId,
    result: _result,
    resultId: _resultId,
    ...task
  } = row;
  return { ...task, error: errorCode === null ? null : { code: errorCode, message: errorMessage ?? "" } };
}

function toClaimed(row: TaskRow): ClaimedTask {
  if (row.leaseId === null) throw new Error("A run without a lease."); // every start makes one
  return { task: toTask(row), lease: { taskId: row.id, leaseId: row.leaseId } };
}
