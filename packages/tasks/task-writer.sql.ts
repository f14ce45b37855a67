import type { EventLog, NewEvent } from "@toolyard/events";
import {
  createGroupCommit,
  holdRows,
  insertRows,
  updateRows,
  type Database,
  type SqlTransaction,
} from "@toolyard/storage";
import type { EntityManager } from "typeorm";
import { PRIORITIES, taskEntity, type TaskRow } from "./database.ts";
import { isOpen, started, type Change } from "./task-changes.ts";
import type { TaskEvent, TaskKind, TaskStatus } from "./task.ts";

/** Changes tasks' rows and appends the events of the changes. What is asked for at the same time is one transaction (see createGroupCommit). */
export interface TaskWriter {
  insert(row: TaskRow): Promise<void>;
  /**
   * `decide` may be asked again, where a transaction came to nothing. It is shown null where there is no such row; null changes nothing.
   * @param payload JSON that it will write
   * @param withinMs How long it may wait for others
   */
  change(
    id: string,
    decide: (row: TaskRow | null) => Change | null,
    payload?: unknown,
    withinMs?: number,
  ): Promise<void>;
  /** Starts what is due, at most as many of each kind as it has room, the longest due first. @returns the rows of their runs */
  claim(claim: Claim): Promise<TaskRow[]>;
}

interface Claim {
  room: ReadonlyMap<TaskKind, number>;
  /** How many of each kind begin at once; all unless given. */
  atOnce?: ReadonlyMap<TaskKind, number> | undefined;
  leaseMs: number;
  /** Now, in epoch milliseconds. */
  at: number;
}

/** A change that was made; `before`: the status that the task had, null where it was not there. */
export interface Changed {
  before: TaskStatus | null;
  row: TaskRow;
}

type Part =
  | { type: "insert"; row: TaskRow }
  | { type: "change"; id: string; decide: (row: TaskRow | null) => Change | null; payload: unknown }
  | { type: "claim"; claim: Claim; claimed: TaskRow[] };

/** The columns that changes change. */
const CHANGING = [
  "status",
  "progress",
  "message",
  // Not read, and null until a task ends, which it does once.
  "result",
  "resultId",
  "errorCode",
  "errorMessage",
  "attempts",
  "cancelRequested",
  "startedAt",
  "finishedAt",
  "dueAt",
  "leaseId",
] as const satisfies (keyof TaskRow)[];

/** Characters of one transaction, far from the size of a server's packets; each part counts as some hundreds, besides its JSON. */
const MAX_SIZE = 200_000;
const PART_SIZE = 500;

export function createTaskWriter(options: {
  database: Database;
  events: EventLog<TaskEvent>;
  /** Told of the changes that have events, after the commit. */
  changed: (changes: readonly Changed[]) => void;
}): TaskWriter {
  const { database, events, changed } = options;

  async function work(tx: SqlTransaction, parts: readonly Part[]): Promise<void> {
    const { manager } = tx;
    const inserted = parts.flatMap((part) => (part.type === "insert" ? [part.row] : []));
    await insertRows(manager, taskEntity, inserted);
    const told: NewEvent<TaskEvent>[] = inserted.map((row) => eventOf(row, "queued"));
    const unwritten = new Map<string, TaskRow>();
    const seen: Changed[] = inserted.map((row) => ({ before: null, row }));

    function apply(before: TaskRow, { row, event }: Change): void {
      unwritten.set(row.id, row);
      if (event === null) return;
      told.push(eventOf(row, event));
      seen.push({ before: before.status, row });
    }
    async function write(): Promise<void> {
      await updateRows(manager, taskEntity, CHANGING, [...unwritten.values()]);
      unwritten.clear();
    }

    const changes = parts.filter((part) => part.type === "change");
    const held = await holdRows(
      manager,
      taskEntity,
      changes.map(({ id }) => id),
    );
    const rows = new Map(held.map((row) => [row.id, row]));
    for (const { id, decide } of changes) {
      const row = rows.get(id) ?? null;
      const change = decide(row);
      if (!row || !change) continue;
      rows.set(id, change.row);
      apply(row, change);
    }
    for (const part of parts) {
      if (part.type !== "claim") continue;
      // The condition of what is due is about what is written.
      await write();
      part.claimed = await claimDue(manager, part.claim, apply, write);
    }
    await write();
    await events.append(tx, told);
    tx.afterCommit(() => changed(seen));
  }

  const commit = createGroupCommit<Part>({ database, work, sizeOf, maxSize: MAX_SIZE });

  return {
    insert: (row) => commit({ type: "insert", row }),
    change: (id, decide, payload = null, withinMs = 0) => commit({ type: "change", id, decide, payload }, withinMs),
    async claim(claim) {
      const part: Part = { type: "claim", claim, claimed: [] };
      await commit(part);
      return part.claimed;
    },
  };
}

function sizeOf(part: Part): number {
  const payload = part.type === "insert" ? part.row.input : part.type === "change" ? part.payload : null;
  return PART_SIZE + (JSON.stringify(payload)?.length ?? 0);
}

async function claimDue(
  manager: EntityManager,
  { room, atOnce, leaseMs, at }: Claim,
  apply: (before: TaskRow, change: Change) => void,
  write: () => Promise<void>,
): Promise<TaskRow[]> {
  const claimed: TaskRow[] = [];
  const left = new Map([...room].filter(([, count]) => count > 0));
  /** One whose last run nobody ended counts, so that what ends its process is not run for ever. */
  const isAhead = ({ kind, status }: TaskRow) =>
    status === "QUEUED" &&
    atOnce !== undefined &&
    claimed.filter((row) => row.kind === kind).length >= (atOnce.get(kind) ?? 0);
  for (let isAll = false; !isAll && left.size > 0;) {
    const found = await findDue(manager, left, { at, leaseMs });
    isAll = true;
    const held = new Map((await holdRows(manager, taskEntity, found)).map((row) => [row.id, row]));
    for (const id of found) {
      const row = held.get(id);
      // Another process may have it by now.
      const change =
        row && isOpen(row) && (row.dueAt <= at || isOfLaterClock(row, { at, leaseMs }))
          ? started(row, leaseMs, at, isAhead(row))
          : null;
      const free = row && left.get(row.kind);
      if (row && !free) continue;
      if (row && change) apply(row, change);
      if (!row || !free || change?.row.status !== "RUNNING") {
        isAll = false;
        continue;
      }
      claimed.push(change.row);
      if (free > 1) left.set(row.kind, free - 1);
      else left.delete(row.kind);
    }
    // What ended instead of being started is not found again.
    await write();
  }
  return claimed;
}

/** What another process's clock may be ahead. */
const MAX_AHEAD_MS = 5 * 60_000;

type Dated = Pick<TaskRow, "status" | "dueAt" | "createdAt">;

/** The clock was set back since the task was queued, or since it was claimed, by a lease that reaches further than any. */
function isOfLaterClock({ status, dueAt, createdAt }: Dated, { at, leaseMs }: Pick<Claim, "at" | "leaseMs">): boolean {
  return status === "RUNNING" ? dueAt > at + leaseMs + MAX_AHEAD_MS : createdAt > at;
}

/** The parts of the index of tasks that are due, by status, kind and priority. */
export function partsOfOpen(kinds: Iterable<TaskKind>): [status: TaskStatus, kind: TaskKind, priority: number][] {
  return [...kinds].flatMap((kind) =>
    (["RUNNING", "QUEUED"] as const).flatMap((status) =>
      PRIORITIES.map((priority): [TaskStatus, TaskKind, number] => [status, kind, priority]),
    ),
  );
}

/**
 * Ids of the first tasks of each kind, by the index: the number of waiting tasks does not matter. Those whose lease has ended go first, then those that
 * a user waits for.
 */
async function findDue(
  manager: EntityManager,
  room: ReadonlyMap<TaskKind, number>,
  { at, leaseMs }: Omit<Claim, "room">,
): Promise<string[]> {
  const parts = partsOfOpen(room.keys()).map((part) => [...part, at, room.get(part[1])]);
  const of = (condition: string) => (_: unknown, index: number) =>
    `SELECT * FROM (SELECT id, status, priority, "dueAt", "createdAt" FROM tasks WHERE status = ? AND kind = ? AND priority = ? AND ${condition} LIMIT ?) part_${index}`;
  const read = async (condition: string) =>
    manager.query<(Dated & Pick<TaskRow, "id" | "priority">)[]>(
      parts.map(of(condition)).join(" UNION ALL "),
      parts.flat(),
    );
  const late = await read('"dueAt" > ? ORDER BY "dueAt" DESC, id DESC');
  const found = [
    ...(await read('"dueAt" <= ? ORDER BY "dueAt", id')),
    ...late.filter((task) => isOfLaterClock(task, { at, leaseMs })),
  ];
  const rankOf = ({ status, priority }: (typeof found)[number]) => (status === "RUNNING" ? -1 : priority);
  return found
    .toSorted((a, b) => rankOf(a) - rankOf(b) || a.dueAt - b.dueAt || (a.id < b.id ? -1 : 1))
    .map(({ id }) => id);
}

function eventOf(
  { id, kind, status, progress, message, attempts, toolId }: TaskRow,
  event: string,
): NewEvent<TaskEvent> {
  return { kind: event, subjectId: id, payload: { kind, status, progress, message, attempts, toolId } };
}
