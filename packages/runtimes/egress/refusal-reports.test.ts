import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createRefusalReports, type RefusalReport } from "./refusal-reports.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("the first refusal of a host is reported at once, its repetitions together, and all are counted", () => {
  const reports: RefusalReport[] = [];
  const note = createRefusalReports((report) => reports.push(report));
  for (let n = 0; n < 1_000; n += 1) note("a.test:443");
  note("b.test:443");
  expect(reports).toEqual([
    { refused: "a.test:443", count: 1 },
    { refused: "b.test:443", count: 1 },
  ]);
  vi.advanceTimersByTime(60_000);
  expect(reports.slice(2)).toEqual([{ refused: "a.test:443", count: 999 }]);
  note("a.test:443");
  expect(reports).toHaveLength(4);
});

test("one that asks for ever more hosts makes no more reports than for a few hundred", () => {
  const reports: RefusalReport[] = [];
  const note = createRefusalReports((report) => reports.push(report));
  for (let n = 0; n < 10_000; n += 1) note(`${n}.test:443`);
  vi.advanceTimersByTime(60_000);
  expect(reports.length).toBeLessThan(300);
  expect(reports.reduce((sum, { count }) => sum + count, 0)).toBe(10_000);
});
