import { expect, test } from "vitest";
import { createPassiveHealth } from "./passive-health.ts";

test("five failures in 10 s trip for 10 s, then for 20 s; a success in between ends the doubling", () => {
  const health = createPassiveHealth();
  const fail = (times: number, at: number) => Array.from({ length: times }, () => health.failed(at));
  fail(4, 0);
  expect(health.isTripped(1)).toBe(false);
  health.failed(11_000); // the four are too old
  expect(health.isTripped(11_001)).toBe(false);
  fail(4, 12_000);
  expect(health.isTripped(12_001)).toBe(true);
  expect(health.isTripped(22_001)).toBe(false);
  fail(5, 23_000);
  expect(health.isTripped(42_000)).toBe(true);
  expect(health.isTripped(43_001)).toBe(false);
  health.succeeded();
  fail(5, 50_000);
  expect(health.isTripped(59_999)).toBe(true);
  expect(health.isTripped(60_001)).toBe(false);
});
