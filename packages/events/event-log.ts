import { ToolyardError, type Page } from "@toolyard/service-kit";
import type { Database, LongWork, Transaction } from "@toolyard/storage";
import { column, countByParent, inChunks, readPagesByParent } from "@toolyard/storage";
import { EntitySchema, LessThanOrEqual, MoreThan, type EntityManager } from "typeorm";
import type { WakeUpBus } from "./bus.ts";

/** Position in a log. Decimal text at the graph's edge; "0" is before the first. */
export type Sequence = number;

export interface NewEvent<Payload> {
  /** What happened, in the log's own words. */
  kind: string;
  /** The id of what it happened to: a deployment, a task, a tool. */
  subjectId: string;
  /** JSON. Facts that the event must keep for good, such as the status at that time. */
  payload: Payload;
  at?: number;
}

export interface LoggedEvent<Payload> {
  sequence: Sequence;
  /** Epoch milliseconds. */
  at: number;
  kind: string;
  subjectId: string;
  payload: Payload;
}

/** An append-only log in its subgraph's own store. */
export interface EventLog<Payload> {
  readonly topic: string;
  /**
   * Appends in the transaction of the change that the events describe, as its last statements. Stores call it, so that no change is without its
   * events. Sequences rise in commit order without gaps visible to `readAfter`; followers are woken after the commit.
   */
  append(tx: Transaction, events: readonly NewEvent<Payload>[]): Promise<Sequence[]>;
  /** At most `limit` events after `sequence`, in order, of one subject when given. Empty when there are none. */
  readAfter(sequence: Sequence, limit: number, subjectId?: string): Promise<LoggedEvent<Payload>[]>;
  /** A page of each subject's events, newest first, one more than its limit where there are more; `page.afterId` is a sequence. */
  historiesOf(subjectIds: readonly string[], page: Page): Promise<LoggedEvent<Payload>[][]>;
  /** How many events there are of each subject. */
  countsOf(subjectIds: readonly string[]): Promise<number[]>;
  /** The newest sequence; 0 when nothing was ever appended. */
  latest(): Promise<Sequence>;
  /** As `latest`, queued with transactions: events of a transaction that is requested later come after it. */
  latestInTurn(): Promise<Sequence>;
  /** Removes events older than `at` (epoch ms), and all before them; answers how many. */
  trim(at: number, work?: LongWork): Promise<number>;
  /** The newest sequence that was trimmed away; 0 when none was. Reading after less than this would miss events. */
  trimmedTo(): Promise<Sequence>;
}

interface EventRow {
  sequence: number;
  at: number;
  kind: string;
  subjectId: string;
  payload: unknown;
}
interface CounterRow {
  name: string;
  next: number;
  trimmedTo: number;
}

export interface EventLogSchema {
  /** The topic that the bus wakes when the log has more: one for each log. */
  topic: string;
  events: EntitySchema<EventRow>;
  counter: EntitySchema<CounterRow>;
}

/**
 * A log's topic, `<name>-events`, and its two entities, `<name>_events` and `<name>_event_counter`: add both to the store's. `name` is
 * unique in the installation.
 */
export function eventLogSchema(name: string): EventLogSchema {
  return {
    topic: `${name}-events`,
    events: new EntitySchema<EventRow>({
      name: `${name}_events`,
      columns: {
        sequence: { ...column.time, primary: true },
        at: { ...column.time },
        kind: { ...column.name },
        subjectId: { ...column.id },
        payload: { ...column.json },
      },
      indices: [{ columns: ["subjectId", "sequence"] }, { columns: ["at"] }],
    }),
    counter: new EntitySchema<CounterRow>({
      name: `${name}_event_counter`,
      columns: {
        name: { ...column.name, primary: true },
        next: { ...column.time },
        trimmedTo: { ...column.time },
      },
    }),
  };
}

export function createEventLog<Payload>(options: {
  database: Database;
  schema: EventLogSchema;
  bus: WakeUpBus;
  now?: () => number;
}): EventLog<Payload> {
  const { database, schema, bus, now = Date.now } = options;
  const { topic } = schema;
  const rows = () => database.read.getRepository(schema.events);
  // The rows are this log's own and were written from Payload.
  const toEvent = (row: EventRow): LoggedEvent<Payload> => ({ ...row, payload: row.payload as Payload });

  async function latestOf(manager: EntityManager): Promise<Sequence> {
    const counter = await manager.getRepository(schema.counter).findOneBy({ name: "sequence" });
    return counter?.next ?? 0;
  }

  return {
    topic,
    async append(tx, events) {
      if (events.length === 0) return [];
      const counters = tx.manager.getRepository(schema.counter);
      const updated = await counters.increment({ name: "sequence" }, "next", events.length);
      if (!updated.affected) await counters.insert({ name: "sequence", next: events.length, trimmedTo: 0 });
      const { next } = await counters.findOneByOrFail({ name: "sequence" });
      const first = next - events.length + 1;
      const at = now();
      const sequences = events.map((_, index) => first + index);
      await tx.manager.getRepository(schema.events).insert(
        events.map((event, index) => ({
          sequence: first + index,
          at: event.at ?? at,
          kind: event.kind,
          subjectId: event.subjectId,
          // TypeORM's insert type wants deep partials of unknown.
          payload: event.payload as object,
        })),
      );
      tx.afterCommit(() => bus.wake(topic));
      return sequences;
    },
    async readAfter(sequence, limit, subjectId) {
      const found = await rows().find({
        where: { sequence: MoreThan(sequence), ...(subjectId !== undefined && { subjectId }) },
        order: { sequence: "ASC" },
        take: limit,
      });
      return found.map(toEvent);
    },
    async historiesOf(subjectIds, page) {
      const found = await readPagesByParent(rows(), subjectIds, page, { parentColumn: "subjectId" });
      return found.map((history) => history.map(toEvent));
    },
    countsOf: (subjectIds) => countByParent(rows(), subjectIds, { parentColumn: "subjectId" }),
    latest: () => latestOf(database.read),
    latestInTurn: () => database.transaction(({ manager }) => latestOf(manager)),
    trim: (at, work) =>
      inChunks(
        database,
        async ({ manager }, limit) => {
          const oldest = await manager
            .getRepository(schema.events)
            .find({ order: { sequence: "ASC" }, take: limit, select: { sequence: true, at: true } });
          const last = oldest.findLast((event) => event.at < at);
          if (!last) return 0;
          const { affected } = await manager
            .getRepository(schema.events)
            .delete({ sequence: LessThanOrEqual(last.sequence) });
          await manager.getRepository(schema.counter).update({ name: "sequence" }, { trimmedTo: last.sequence });
          return affected ?? 0;
        },
        work,
      ),
    async trimmedTo() {
      const counter = await database.read.getRepository(schema.counter).findOneBy({ name: "sequence" });
      return counter?.trimmedTo ?? 0;
    },
  };
}

/** Parses `after` of a subscription or history. @throws ToolyardError BAD_USER_INPUT */
export function parseSequence(after: string): Sequence {
  if (!/^\d{1,15}$/.test(after)) {
    const message = 'is not a position in the event log: pass a `sequence` you were given, or "0" for the start';
    throw new ToolyardError("BAD_USER_INPUT", `after: ${message}`, { problems: [{ path: "after", message }] });
  }
  return Number(after);
}
