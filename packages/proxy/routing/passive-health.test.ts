import { expect, test } from "vitest";
import { createPassiveHealth } from "./passive-health.ts";

test("five failures in 10 s trip for 10 s, then one for 20 s; a success in between ends the doubling", () => {
  const health = createPassiveHealth();
  const fail = (times: number, at: number) => Array.from({ length: times }, () => health.failed(at));
  fail(4, 0);
  expect(health.isTripped(1)).toBe(false);
  health.failed(11_000); // the four are too old
  expect(health.isTripped(11_001)).toBe(false);
  fail(4, 12_000);
  expect(health.isTripped(12_001)).toBe(true);
  expect(health.isTripped(22_001)).toBe(false);
  fail(1, 23_000);
  expect(health.isTripped(42_000)).toBe(true);
  expect(health.isTripped(43_001)).toBe(false);
  health.succeeded(43_002);
  fail(5, 50_000);
  expect(health.isTripped(59_999)).toBe(true);
  expect(health.isTripped(60_001)).toBe(false);
});

test("after a trip one call is the trial and others go elsewhere: its failure trips again, its success closes, and one without end is followed by another", () => {
  const health = createPassiveHealth();
  const trip = (at: number) => Array.from({ length: 5 }, () => health.failed(at));
  trip(0);
  health.succeeded(5_000); // of a call of before, or of a session there
  expect(health.isTripped(5_001)).toBe(true);
  expect(health.isTripped(10_000)).toBe(false);
  health.chosen(10_000);
  expect(health.isTripped(10_001)).toBe(true);
  health.failed(10_002);
  expect(health.isTripped(30_001)).toBe(true);
  health.chosen(30_002);
  expect(health.isTripped(40_001)).toBe(true);
  expect(health.isTripped(40_002)).toBe(false);
  health.chosen(40_002);
  health.succeeded(40_003);
  expect(health.isTripped(40_004)).toBe(false);
  health.failed(40_005); // one of five again
  expect(health.isTripped(40_006)).toBe(false);
});
