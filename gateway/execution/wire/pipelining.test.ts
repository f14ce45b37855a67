import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createPipelining } from "./pipelining.ts";

function pipeliningAt(maxDepth: number) {
  const clock = { ms: 0 };
  return { clock, pipelining: createPipelining({ maxDepth, now: () => clock.ms }) };
}

/** How long the depth stays 1, in steps of a tenth of a second. */
function pauseOf({ clock, pipelining }: ReturnType<typeof pipeliningAt>): number {
  const from = clock.ms;
  while (pipelining.depth() === 1 && clock.ms - from < 3_600_000) clock.ms += 100;
  return clock.ms - from;
}

const event = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant("answered" as const), ms: fc.double({ min: 0, max: 40, noNaN: true }) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("failed" as const), ms: fc.constant(0) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("wait" as const), ms: fc.integer({ min: 0, max: 700_000 }) }) },
);

test("whatever happens the depth is a whole number from one to the most, and one in every pause", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 32 }), fc.array(event, { maxLength: 120 }), (maxDepth, events) => {
      const { clock, pipelining } = pipeliningAt(maxDepth);
      for (const { kind, ms } of events) {
        if (kind === "answered") pipelining.answered(ms);
        else if (kind === "failed") pipelining.failed();
        else clock.ms += ms;
        const depth = pipelining.depth();
        expect(Number.isInteger(depth) && depth >= 1 && depth <= maxDepth).toBe(true);
        if (kind === "failed") expect(depth).toBe(1);
      }
      // No pause is for ever.
      clock.ms += 600_000;
      expect(pipelining.depth()).toBe(Math.max(Math.min(2, maxDepth), pipelining.depth()));
    }),
    { numRuns: 300 },
  );
});

describe("the depth", () => {
  test("grows by one with each sixteen batches that were fine, up to the most", () => {
    const { pipelining } = pipeliningAt(6);
    const depths: number[] = [];
    for (let batch = 1; batch <= 64; batch++) {
      pipelining.answered(1);
      if (batch % 16 === 0) depths.push(pipelining.depth());
    }
    expect(depths).toEqual([5, 6, 6, 6]);
  });

  test("is halved by a batch that took long, and stays two after one that was of three", () => {
    const { pipelining } = pipeliningAt(16);
    for (let batch = 0; batch < 32; batch++) pipelining.answered(0);
    expect(pipelining.depth()).toBe(6);
    pipelining.answered(20);
    expect(pipelining.depth()).toBe(3);
    pipelining.answered(20);
    expect(pipelining.depth()).toBe(2);
  });

  test("is one after eight batches of two in a row that took long: such a server works off one request at a time", () => {
    const { pipelining } = pipeliningAt(2);
    for (let batch = 0; batch < 7; batch++) pipelining.answered(20);
    pipelining.answered(0);
    for (let batch = 0; batch < 7; batch++) pipelining.answered(20);
    expect(pipelining.depth()).toBe(2);
    pipelining.answered(20);
    expect(pipelining.depth()).toBe(1);
  });

  test("is one for a pause after a failure; what fails within the pause adds nothing to it", () => {
    const at = pipeliningAt(16);
    at.pipelining.failed();
    at.clock.ms += 4_000;
    at.pipelining.failed();
    expect(pauseOf(at)).toBe(1_000);
    expect(at.pipelining.depth()).toBe(2);
  });
});

test("pauses double up to ten minutes, and a thousand batches without a failure make the next one short", () => {
  const at = pipeliningAt(16);
  const pauses: number[] = [];
  for (let failure = 0; failure < 10; failure++) {
    at.pipelining.failed();
    pauses.push(pauseOf(at) / 1_000);
  }
  expect(pauses).toEqual([5, 10, 20, 40, 80, 160, 320, 600, 600, 600]);
  for (let batch = 0; batch < 999; batch++) at.pipelining.answered(0);
  at.pipelining.failed();
  expect(pauseOf(at)).toBe(600_000);
  for (let batch = 0; batch < 1_000; batch++) at.pipelining.answered(0);
  at.pipelining.failed();
  expect(pauseOf(at)).toBe(5_000);
});

test("where the most is one nothing is ever sent behind another", () => {
  const { pipelining, clock } = pipeliningAt(1);
  for (let batch = 0; batch < 100; batch++) pipelining.answered(0);
  pipelining.failed();
  clock.ms += 1_000_000;
  expect(pipelining.depth()).toBe(1);
});
