import { expect, test } from "vitest";
import { createLogger, type Page } from "@toolyard/service-kit";
import type { Database } from "@toolyard/storage";
import { ODD_JSON } from "@toolyard/testing/port-contract.ts";
import type { WakeUpBus } from "./bus.ts";
import type { EventLog } from "./event-log.ts";
import { createEventTail } from "./event-tail.ts";

export interface EventLogFixture {
  /** One log as two processes have it open. */
  databases: readonly [Database, Database];
  logs: readonly [EventLog<{ n: number }>, EventLog<{ n: number }>];
  /** The first of them. */
  database: Database;
  log: EventLog<{ n: number }>;
  bus: WakeUpBus;
}

const logger = createLogger({ level: "silent", name: "test" });
const event = (n: number, subjectId = "s") => ({ kind: "TESTED", subjectId, payload: { n } });

/** What every adapter of the event log must show. `withFixture` makes a fresh log and releases it after. */
export function eventLogContract(
  withFixture: (run: (fixture: EventLogFixture) => Promise<void>) => Promise<void>,
): void {
  const appendOne = ({ database, log }: EventLogFixture, n: number, subjectId?: string) =>
    database.transaction((tx) => log.append(tx, [event(n, subjectId)]));

  test("sequences rise by one from 1, across transactions and within one", () =>
    withFixture(async (fixture) => {
      expect(await appendOne(fixture, 1)).toEqual([1]);
      expect(await fixture.database.transaction((tx) => fixture.log.append(tx, [event(2), event(3)]))).toEqual([2, 3]);
      expect(await fixture.log.latest()).toBe(3);
    }));

  test("events are kept as they are, and found by their subject as it is", () =>
    withFixture(async ({ database, log }) => {
      const odd = { kind: "\u{1f600}", subjectId: "a", payload: { n: 0.1, odd: ODD_JSON }, at: 253_402_300_799_999 };
      const others = ["A", "a ", "\u00e4", "a\u0308", "%"].map((subjectId, n) => event(n, subjectId));
      await database.transaction((tx) => log.append(tx, [odd, ...others]));
      const found = await log.readAfter(0, 100, "a");
      expect(found).toEqual([{ ...odd, sequence: 1 }]);
      expect(JSON.stringify(found[0]?.payload)).toBe(JSON.stringify(odd.payload));
      expect(await log.readAfter(0, 100)).toHaveLength(6);
      expect(await log.countsOf(["a", "A", "_"])).toEqual([1, 1, 0]);
    }));

  test("readers in other transactions see nothing of an append before it is committed", () =>
    withFixture(async ({ database, log }) => {
      await database.transaction(async (tx) => {
        await log.append(tx, [event(1)]);
        expect(await log.readAfter(0, 10)).toEqual([]);
        expect(await log.latest()).toBe(0);
      });
      expect(await log.readAfter(0, 10)).toHaveLength(1);
    }));

  test("an append in one process waits for one in another, so that no later sequence is seen before an earlier one", () =>
    withFixture(async ({ databases, logs }) => {
      const [one, other] = logs;
      await databases[0].transaction((tx) => one.append(tx, [event(0)]));
      let second: Promise<number[]> = Promise.resolve([]);
      const first = await databases[0].transaction(async (tx) => {
        const sequences = await one.append(tx, [event(1)]);
        second = databases[1].transaction((later) => other.append(later, [event(2)]));
        // Reads of both go on; neither sees any of it.
        for (const log of logs) for (let look = 0; look < 5; look += 1) expect(await log.readAfter(1, 10)).toEqual([]);
        return sequences;
      });
      expect([first, await second]).toEqual([[2], [3]]);
      for (const log of logs) expect((await log.readAfter(0, 10)).map(({ sequence }) => sequence)).toEqual([1, 2, 3]);
    }));

  test("a rolled back append leaves no gap", () =>
    withFixture(async (fixture) => {
      await expect(
        fixture.database.transaction(async (tx) => {
          await fixture.log.append(tx, [event(1)]);
          throw new Error("rolled back");
        }),
      ).rejects.toThrow("rolled back");
      expect(await appendOne(fixture, 2)).toEqual([1]);
    }));

  test("a reader beside overlapping writers of several processes misses nothing and sees the order of the sequences", () =>
    withFixture(async ({ databases, logs, bus }) => {
      const tail = createEventTail({ log: logs[1], bus, logger });
      const seen: number[] = [];
      const reading = (async () => {
        for await (const { sequence } of tail.follow({ after: "0" })) {
          seen.push(sequence);
          if (seen.length === 60) return;
        }
      })();
      await Promise.all(
        Array.from({ length: 60 }, (_, n) => {
          const process = n % 2 === 0 ? 0 : 1;
          return databases[process].transaction(async (tx) => {
            await logs[process].append(tx, [event(n)]);
            // Meanwhile others begin, and look.
            await logs[1 - process]?.readAfter(0, 1);
          });
        }),
      );
      await reading;
      expect(seen).toEqual(Array.from({ length: 60 }, (_, index) => index + 1));
      tail.close();
    }));

  test("following from a sequence replays what came after it and goes on live, without repeating", () =>
    withFixture(async (fixture) => {
      const { log, bus } = fixture;
      for (const n of [1, 2, 3]) await appendOne(fixture, n);
      const tail = createEventTail({ log, bus, logger });
      const events = tail.follow({ after: "1" });
      expect((await events.next()).value?.payload.n).toBe(2);
      await appendOne(fixture, 4);
      expect((await events.next()).value?.payload.n).toBe(3);
      expect((await events.next()).value?.payload.n).toBe(4);
      await events.return?.();
      tail.close();
    }));

  test("events of another subject are left out, in replay and live", () =>
    withFixture(async (fixture) => {
      const { log, bus } = fixture;
      await appendOne(fixture, 1, "other");
      await appendOne(fixture, 2, "mine");
      const tail = createEventTail({ log, bus, logger });
      const events = tail.follow({ after: "0", subjectId: "mine" });
      expect((await events.next()).value?.payload.n).toBe(2);
      await appendOne(fixture, 3, "other");
      await appendOne(fixture, 4, "mine");
      expect((await events.next()).value?.payload.n).toBe(4);
      tail.close();
    }));

  test("a log that cannot be read is told of once, without a stack, and once when it can be again", () =>
    withFixture(async (fixture) => {
      const { log, bus } = fixture;
      const lines: { level: string; reason?: string; err?: unknown }[] = [];
      const told = createLogger({
        level: "info",
        name: "test",
        destination: { write: (line) => lines.push(JSON.parse(line) as (typeof lines)[number]) },
      });
      let reads = 0;
      let isAway = false;
      const readAfter: typeof log.readAfter = async (...asked) => {
        if (!isAway) return log.readAfter(...asked);
        reads += 1;
        throw Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" });
      };
      const tail = createEventTail({ log: { ...log, readAfter }, bus, logger: told, pollIntervalMs: 5 });
      const events = tail.follow({ after: "0" });
      await appendOne(fixture, 1);
      expect((await events.next()).value?.payload.n).toBe(1);
      const second = events.next();
      isAway = true;
      await expect.poll(() => reads).toBeGreaterThan(2);
      await appendOne(fixture, 2);
      isAway = false;
      expect((await second).value?.payload.n).toBe(2);
      await expect.poll(() => lines.map(({ level }) => level)).toEqual(["warn", "info"]);
      expect(lines[0]).toMatchObject({ reason: "connect ECONNREFUSED" });
      expect(lines[0]).not.toHaveProperty("err");
      tail.close();
    }));

  test("aborting ends a stream that waits", () =>
    withFixture(async ({ log, bus }) => {
      const tail = createEventTail({ log, bus, logger });
      const abort = new AbortController();
      const next = tail.follow({ after: null, signal: abort.signal }).next();
      setImmediate(() => abort.abort());
      expect((await next).done).toBe(true);
      tail.close();
    }));

  test("who follows from now on is told what is appended next, however many read", () =>
    withFixture(async (fixture) => {
      const { log, bus } = fixture;
      await appendOne(fixture, 1);
      const tail = createEventTail({ log, bus, logger });
      const reads = Array.from({ length: 500 }, () => log.readAfter(0, 10));
      const first = tail.follow({ after: null }).next();
      await appendOne(fixture, 2);
      await appendOne(fixture, 3);
      expect((await first).value?.sequence).toBe(2);
      await Promise.all(reads);
      tail.close();
    }));

  test("a consumer that lags too far is told the last sequence it got", () =>
    withFixture(async (fixture) => {
      const { log, bus } = fixture;
      const tail = createEventTail({ log, bus, logger, maxQueue: 3 });
      const events = tail.follow({ after: "0" });
      await appendOne(fixture, 1);
      expect((await events.next()).value?.sequence).toBe(1);
      await fixture.database.transaction((tx) =>
        log.append(
          tx,
          Array.from({ length: 10 }, (_, n) => event(n + 2)),
        ),
      );
      const seen: number[] = [];
      const reading = (async () => {
        for await (const { sequence } of events) seen.push(sequence);
      })();
      const error: unknown = await reading.then(
        () => null,
        (thrown: unknown) => thrown,
      );
      expect(error).toMatchObject({ extensions: { code: "SLOW_CONSUMER", lastSequence: String(seen.at(-1)) } });
      tail.close();
    }));

  test.each(["-1", "1.5", "x", "", "99999999999999999999"])("refuses %j as a position", (after) =>
    withFixture(async ({ log, bus }) => {
      const tail = createEventTail({ log, bus, logger });
      await expect(tail.follow({ after }).next()).rejects.toMatchObject({ code: "BAD_USER_INPUT" });
      tail.close();
    }),
  );

  test("a position older than the trimmed log is an error that says from where to start; one beyond its end too", () =>
    withFixture(async (fixture) => {
      const { log, bus, database } = fixture;
      await database.transaction((tx) => log.append(tx, [{ ...event(1), at: 1 }, { ...event(2), at: 2 }, event(3)]));
      expect(await log.trim(1_000)).toBe(2);
      const tail = createEventTail({ log, bus, logger });
      await expect(tail.follow({ after: "1" }).next()).rejects.toMatchObject({ extensions: { oldestSequence: "2" } });
      await expect(tail.follow({ after: "9" }).next()).rejects.toMatchObject({ extensions: { latestSequence: "3" } });
      expect((await tail.follow({ after: "2" }).next()).value?.sequence).toBe(3);
      tail.close();
    }));

  test("history reads back page by page, newest first", () =>
    withFixture(async (fixture) => {
      for (const n of [1, 2, 3]) await appendOne(fixture, n);
      await appendOne(fixture, 4, "other");
      const sequencesOf = async (page: Page) =>
        (await fixture.log.historiesOf(["s", "none", "other"], page)).map((events) =>
          events.map(({ sequence }) => sequence),
        );
      expect(await sequencesOf({ limit: 1, afterId: null, offset: 0 })).toEqual([[3, 2], [], [4]]);
      expect(await sequencesOf({ limit: 1, afterId: "2", offset: 0 })).toEqual([[1], [], []]);
      expect(await fixture.log.countsOf(["s", "none", "other"])).toEqual([3, 0, 1]);
    }));
}
