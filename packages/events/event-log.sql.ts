import {
  column,
  countByParent,
  inChunks,
  insertIfAbsent,
  insertRows,
  readPagesByParent,
  sqlTransaction,
  type Database,
} from "@toolyard/storage";
import { EntitySchema, LessThanOrEqual, MoreThan, type EntityManager } from "typeorm";
import type { WakeUpBus } from "./bus.ts";
import type { EventLog, LoggedEvent } from "./event-log.ts";

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

  const counterTable = schema.counter.options.name;
  const findCounter = (manager: EntityManager) => manager.getRepository(schema.counter).findOneBy({ name: "sequence" });

  return {
    topic,
    async append(tx, events) {
      if (events.length === 0) return [];
      const { manager } = sqlTransaction(tx);
      // The counter's row is held until the commit: sequences are taken, and become visible, in the order of commits.
      const count = async () => {
        await manager.query(`UPDATE "${counterTable}" SET "next" = "next" + ? WHERE "name" = 'sequence'`, [
          events.length,
        ]);
        const [counter] = await manager.query<{ next: number }[]>(
          `SELECT "next" FROM "${counterTable}" WHERE "name" = 'sequence'`,
        );
        return counter ? Number(counter.next) : null;
      };
      let next = await count();
      if (next === null) {
        await insertIfAbsent(manager, schema.counter, { name: "sequence", next: 0, trimmedTo: 0 });
        next = await count();
      }
      if (next === null) throw new Error(`${counterTable} has no row.`);
      const first = next - events.length + 1;
      const at = now();
      const sequences = events.map((_, index) => first + index);
      await insertRows(
        manager,
        schema.events,
        events.map(({ kind, subjectId, payload, at: happenedAt = at }, index) => ({
          sequence: first + index,
          at: happenedAt,
          kind,
          subjectId,
          payload,
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
    latest: async () => (await findCounter(database.read))?.next ?? 0,
    latestInTurn: () => database.readInTurn(async (manager) => (await findCounter(manager))?.next ?? 0),
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
    trimmedTo: async () => (await findCounter(database.read))?.trimmedTo ?? 0,
  };
}
