import { expect, test } from "vitest";
import { createClaimPace } from "./claim-ahead.ts";

function paceOf({ claimMs, handlerMs }: { claimMs: number; handlerMs: number }) {
  const pace = createClaimPace(8);
  for (let n = 0; n < 100; n++) {
    pace.claimed(claimMs);
    pace.handled(handlerMs);
  }
  return pace;
}

test("nothing is claimed ahead before a task has ended", () => {
  const pace = createClaimPace(8);
  pace.claimed(5);
  expect(pace.ahead()).toBe(0);
  pace.handled(1);
  expect(pace.ahead()).toBeGreaterThan(0);
});

test("as many quick tasks are claimed ahead as end in a moment, which is longer where claims take long", () => {
  expect(paceOf({ claimMs: 1, handlerMs: 1 }).ahead()).toBe(80);
  expect(paceOf({ claimMs: 1, handlerMs: 10 }).ahead()).toBe(8);
  expect(paceOf({ claimMs: 10, handlerMs: 10 }).ahead()).toBe(32);
  expect(paceOf({ claimMs: 1, handlerMs: 1 }).resultsWaitMs()).toBe(5);
  expect(paceOf({ claimMs: 1_000, handlerMs: 1 }).resultsWaitMs()).toBe(25);
});

test("however quick tasks are, there is a bound", () => {
  expect(paceOf({ claimMs: 1_000, handlerMs: 0 }).ahead()).toBe(128);
});

test("none is claimed ahead of tasks beside which a claim hardly counts, or that take long", () => {
  expect(paceOf({ claimMs: 1, handlerMs: 30 }).ahead()).toBe(0);
  expect(paceOf({ claimMs: 10, handlerMs: 30 }).ahead()).toBe(8);
  expect(paceOf({ claimMs: 1_000, handlerMs: 130 }).ahead()).toBe(0);
});

test("once tasks wait too long that were claimed ahead, none are until one has ended", () => {
  const pace = paceOf({ claimMs: 1, handlerMs: 1 });
  pace.stuck();
  expect(pace.ahead()).toBe(0);
  pace.handled(2);
  expect(pace.ahead()).toBe(40);
});
