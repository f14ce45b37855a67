import fc from "fast-check";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createBusyReplicas } from "./busy-replicas.ts";
import type { Replica } from "./replica.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const TIMEOUT_MS = 30_000;
// Its id is all that is used of it.
const replica = { id: "r" } as Replica;
const anyStep = fc.oneof(
  fc.constantFrom("began" as const, "heard" as const, "answered" as const, "left" as const),
  fc.integer({ min: 1, max: 20_000 }),
);

test("a replica is busy exactly while it owes an answer and has been silent for less than a call's time", () => {
  fc.assert(
    fc.property(fc.array(anyStep, { maxLength: 40 }), (steps) => {
      let reported: { at: number; ids: string[] }[] = [];
      const busy = createBusyReplicas({ report: (ids) => reported.push({ at: Date.now(), ids }), now: Date.now });
      let calls = 0;
      /** As the model has it. */
      let silentSince: number | null = null;
      try {
        for (const step of steps) {
          if (typeof step === "number") {
            const begin = Date.now();
            vi.advanceTimersByTime(step);
            for (const { at } of reported) {
              expect(silentSince).not.toBeNull();
              expect(at - (silentSince ?? 0)).toBeLessThan(TIMEOUT_MS);
            }
            // At least one look fell into the time that it was busy for.
            const from = Math.max(begin, (silentSince ?? 0) + 250);
            const to = Math.min(Date.now(), (silentSince ?? 0) + TIMEOUT_MS);
            if (silentSince !== null && to - from > 1_000) expect(reported.length).toBeGreaterThan(0);
            reported = [];
          } else if (step === "began") {
            busy.began(replica, TIMEOUT_MS);
            // An abandoned call has had its time.
            if (calls === 0 && silentSince !== null && Date.now() - silentSince >= TIMEOUT_MS) silentSince = null;
            calls += 1;
            silentSince ??= Date.now();
          } else if (calls > 0) {
            if (step === "left") {
              busy.ended(replica, false);
              calls -= 1;
            } else {
              busy.heard(replica);
              silentSince = Date.now();
              if (step === "heard") continue;
              busy.ended(replica, true);
              calls -= 1;
              if (calls === 0) silentSince = null;
            }
          }
        }
        // Once nothing is owed, no timer is left.
        for (; calls > 0; calls -= 1) busy.ended(replica, true);
        vi.advanceTimersByTime(TIMEOUT_MS * 2);
        expect(vi.getTimerCount()).toBe(0);
      } finally {
        busy.close();
      }
    }),
  );
});

test("a replica that leaves the routes is reported at once and until its last call has ended, unless it is a bridge", () => {
  const reported: string[][] = [];
  const busy = createBusyReplicas({ report: (ids) => reported.push(ids), now: Date.now });
  // That is all that is used of it.
  const leaves = (id: string, owed: number, isBridge = false) => {
    const left = { id, owed, legacy: isBridge ? null : {} } as Replica;
    busy.left(left);
    return left;
  };
  const [first, second] = [leaves("first", 2), leaves("second", 1)];
  leaves("unused", 0);
  leaves("bridge", 1, true);
  vi.advanceTimersByTime(1);
  expect(reported).toEqual([["first", "second"]]);
  first.owed = 1;
  second.owed = 0;
  vi.advanceTimersByTime(1_000);
  expect(reported.slice(1)).toEqual([["first"], ["first"]]);
  first.owed = 0;
  vi.advanceTimersByTime(10_000);
  expect(reported).toHaveLength(3);
  expect(vi.getTimerCount()).toBe(0);
});
