import fc from "fast-check";
import type { ExecutionResult } from "graphql";
import { expect, test } from "vitest";
import { anonymous, createUserCaller, type Caller } from "@toolyard/service-kit";
import type { OperationRequest } from "../execution/executor.ts";
import { createChangeLog } from "./fixtures/change-log.ts";
import { createSharedUpstreams } from "./shared-upstreams.ts";

const requestOf = (after: string | null, caller: Caller = anonymous): OperationRequest => ({
  query: "subscription",
  variables: after === null ? {} : { after },
  context: { caller, requestId: "test" },
});

/** Shares the streams of a log. */
function sharing(options: { maxQueued?: number; maxBehind?: number; isLog?: boolean; selects?: string } = {}) {
  const { isLog = true, selects = "sequence", ...rest } = options;
  const log = createChangeLog();
  const shared = createSharedUpstreams({
    async *open({ variables, signal }) {
      const events = log.changes(textOf(variables?.["after"]))[Symbol.asyncIterator]();
      signal?.addEventListener("abort", () => void events.return?.(), { once: true });
      for (let next = await events.next(); !next.done; next = await events.next()) {
        yield { data: { changed: { [selects]: next.value.productChanged.sequence } } };
      }
    },
    positionOf: ({ variables }) => (isLog ? { after: textOf(variables?.["after"]) ?? null, variable: "after" } : null),
    ...rest,
  });
  return { log, shared };
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

// The shape that `sharing` gives.
const sequenceOf = (result: ExecutionResult) => (result.data as { changed: { sequence: string } }).changed.sequence;
const settle = () => new Promise((resolve) => setImmediate(resolve));

test("whoever joins when, and however fast each reads, sees each event once, in order, from where it asked", async () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant("append" as const), count: fc.integer({ min: 1, max: 5 }) }),
    fc.record({ kind: fc.constant("join" as const), after: fc.option(fc.nat(30)) }),
    fc.record({ kind: fc.constant("read" as const), reader: fc.nat(9), count: fc.integer({ min: 1, max: 8 }) }),
    fc.record({ kind: fc.constant("leave" as const), reader: fc.nat(9) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const { log, shared } = sharing();
      let last = 0;
      const readers: {
        from: number;
        seen: number[];
        wanted: number;
        stop: () => Promise<unknown>;
        done: Promise<void>;
      }[] = [];
      for (const one of steps) {
        if (one.kind === "append") {
          log.append(one.count);
          last += one.count;
        } else if (one.kind === "join") {
          const from = Math.min(one.after ?? last, last);
          const stream = shared.subscribe(requestOf(one.after === null ? null : String(from)));
          const reader = {
            from,
            seen: [] as number[],
            wanted: 0,
            stop: () => stream.return(),
            done: Promise.resolve(),
          };
          reader.done = (async () => {
            for await (const result of stream) {
              reader.seen.push(Number(sequenceOf(result)));
              reader.wanted--;
              // Reads on when it is told to, and at the end.
              while (reader.wanted <= 0) await settle();
            }
          })();
          readers.push(reader);
        } else {
          const reader = readers[one.reader % Math.max(readers.length, 1)];
          if (one.kind === "read" && reader) reader.wanted += one.count;
          if (one.kind === "leave" && reader) {
            readers.splice(readers.indexOf(reader), 1);
            reader.wanted = Infinity;
            await reader.stop();
            await reader.done;
          }
        }
        await settle();
      }
      log.finish();
      for (const reader of readers) reader.wanted = Infinity;
      await Promise.all(readers.map(({ done }) => done));
      for (const { from, seen } of readers) {
        expect(seen).toEqual(Array.from({ length: last - from }, (_, index) => from + index + 1));
      }
      expect(shared.openUpstreams).toBe(0);
    }),
    { numRuns: 1000 },
  );
});

test("those who ask the same from now on share one upstream, which ends with the last of them", async () => {
  const { log, shared } = sharing();
  const streams = [1, 2, 3].map(() => shared.subscribe(requestOf(null)));
  const first = streams.map((stream) => stream.next());
  await settle();
  log.append();
  for (const { value } of await Promise.all(first)) expect(sequenceOf(value ?? {})).toBe("1");
  for (const stream of streams) void stream.next();
  const late = shared.subscribe(requestOf(null));
  const next = late.next();
  await settle();
  log.append();
  expect(sequenceOf((await next).value ?? {})).toBe("2");
  expect(log.opened).toBe(1);
  for (const stream of [...streams, late]) await stream.return();
  expect(log.open).toBe(0);
  expect(shared.openUpstreams).toBe(0);
});

test("other callers have an upstream of their own", async () => {
  const { log, shared } = sharing();
  const streams = [anonymous, createUserCaller("u1", "VIEWER"), createUserCaller("u2", "VIEWER")].map((caller) =>
    shared.subscribe(requestOf(null, caller)),
  );
  for (const stream of streams) void stream.next();
  await settle();
  expect(log.opened).toBe(3);
  for (const stream of streams) await stream.return();
});

test("whoever replays joins the others once it has caught up", async () => {
  const { log, shared } = sharing();
  log.append(50);
  const live = shared.subscribe(requestOf(null));
  const liveNext = live.next();
  const replaying = shared.subscribe(requestOf("0"));
  await settle();
  expect(shared.openUpstreams).toBe(2);
  for (let n = 1; n <= 50; n++) expect(sequenceOf((await replaying.next()).value ?? {})).toBe(String(n));
  const caughtUp = replaying.next();
  await settle();
  log.append();
  expect(sequenceOf((await liveNext).value ?? {})).toBe("51");
  expect(sequenceOf((await caughtUp).value ?? {})).toBe("51");
  void live.next();
  void replaying.next();
  await settle();
  log.append();
  await settle();
  expect(shared.openUpstreams).toBe(1);
  await live.return();
  await replaying.return();
});

test("those who connect again at about the same place share one upstream, and each goes on where it was", async () => {
  const { log, shared } = sharing();
  log.append(500);
  const seen = await Promise.all(
    ["10", "12", "40", "11", "300"].map(async (after) => {
      const results = shared.subscribe(requestOf(after));
      const sequences = [];
      while (sequences.at(-1) !== "500") sequences.push(sequenceOf((await results.next()).value ?? {}));
      return sequences;
    }),
  );
  expect(seen.map(([first]) => first)).toEqual(["11", "13", "41", "12", "301"]);
  expect(seen.map(({ length }) => length)).toEqual([490, 488, 460, 489, 200]);
  expect(log.opened).toBe(1);
});

test("whoever replays without selecting the sequence gets all, too, beside one that has", async () => {
  const { log, shared } = sharing({ selects: "place" });
  log.append(2);
  const first = shared.subscribe(requestOf("0"));
  for (const place of ["1", "2"]) expect((await first.next()).value).toEqual({ data: { changed: { place } } });
  void first.next();
  const second = shared.subscribe(requestOf("0"));
  for (const place of ["1", "2"]) expect((await second.next()).value).toEqual({ data: { changed: { place } } });
  for (const stream of [first, second]) await stream.return();
  expect(shared.openUpstreams).toBe(0);
});

test("whoever names a sequence that does not come gets the subgraph's own answer", async () => {
  const { log, shared } = sharing();
  log.append(5);
  const others = shared.subscribe(requestOf("3"));
  expect(sequenceOf((await others.next()).value ?? {})).toBe("4");
  const wrong = shared.subscribe(requestOf("100"));
  void wrong.next();
  await expect.poll(() => log.opened).toBe(2);
  for (const stream of [others, wrong]) await stream.return();
  expect(log.open).toBe(0);
});

test("what may begin with a snapshot is shared only until something came", async () => {
  const { log, shared } = sharing({ isLog: false });
  const streams = [1, 2].map(() => shared.subscribe(requestOf(null)));
  const first = streams.map((stream) => stream.next());
  await settle();
  expect(log.opened).toBe(1);
  log.append();
  await Promise.all(first);
  const late = shared.subscribe(requestOf(null));
  void late.next();
  await settle();
  expect(log.opened).toBe(2);
  for (const stream of [...streams, late]) await stream.return();
});

test("whoever is too far behind the others gets an error with the last sequence it took", async () => {
  const { log, shared } = sharing({ maxQueued: 50, maxBehind: 100 });
  const slow = shared.subscribe(requestOf(null));
  const fast = shared.subscribe(requestOf(null));
  const both = [slow.next(), fast.next()];
  await settle();
  log.append(1_000);
  log.finish();
  await Promise.all(both);
  let count = 1;
  for await (const _ of fast) count++;
  expect(count).toBe(1_000);
  const { value } = await slow.next();
  expect(value?.errors?.[0]?.extensions).toEqual({ code: "SLOW_CONSUMER", lastSequence: "1" });
  // What was thrown away when it was found out.
  expect(shared.droppedResults).toBe(101);
  expect((await slow.next()).done).toBe(true);
});

test("large events wait by their size: the upstream is not read on for one who does not read", async () => {
  let pulled = 0;
  const shared = createSharedUpstreams({
    async *open() {
      for (; pulled < 1_000; pulled++)
        yield { data: { changed: { sequence: String(pulled), text: "x".repeat(20_000) } } };
    },
    positionOf: () => null,
    maxQueuedBytes: 100_000,
    graceMs: 60_000,
  });
  const stream = shared.subscribe(requestOf(null));
  const sequences = [sequenceOf((await stream.next()).value as ExecutionResult)];
  await expect.poll(() => pulled).toBeGreaterThan(3);
  for (let turn = 0; turn < 50; turn++) await settle();
  expect(pulled).toBeLessThan(10);
  for await (const result of stream) sequences.push(sequenceOf(result));
  expect(sequences).toEqual(Array.from({ length: 1_000 }, (_, i) => String(i)));
});

test("whoever lets too many bytes wait while others read gets the error", async () => {
  const shared = createSharedUpstreams({
    async *open() {
      for (let i = 0; i < 200; i++) yield { data: { changed: { sequence: String(i), text: "x".repeat(20_000) } } };
    },
    positionOf: () => ({ after: null, variable: null }),
    maxQueuedBytes: 100_000,
    maxBehindBytes: 1_000_000,
    graceMs: 60_000,
  });
  const [slow, fast] = [shared.subscribe(requestOf(null)), shared.subscribe(requestOf(null))];
  await Promise.all([slow.next(), fast.next()]);
  let count = 1;
  for await (const _ of fast) count++;
  expect(count).toBe(200);
  expect((await slow.next()).value?.errors?.[0]?.extensions).toEqual({ code: "SLOW_CONSUMER", lastSequence: "0" });
});

test("what goes wrong upstream goes wrong for all who share it, after what came before", async () => {
  const shared = createSharedUpstreams({
    async *open() {
      yield { data: { changed: { sequence: "1" } } };
      throw new Error("broken");
    },
    positionOf: () => ({ after: null, variable: null }),
  });
  const streams = [1, 2].map(() => shared.subscribe(requestOf(null)));
  for (const stream of streams) expect((await stream.next()).value).toBeDefined();
  for (const stream of streams) await expect(stream.next()).rejects.toThrow("broken");
});
