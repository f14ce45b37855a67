import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createStaggeredInterval } from "./staggered-interval.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("each has its turn once in a round, a few at a time, whoever comes and goes", () => {
  const items = new Set(Array.from({ length: 1_000 }, (_, index) => index));
  const taken: number[] = [];
  const interval = createStaggeredInterval({ everyMs: 12_000, items, take: (item) => taken.push(item) });
  interval.start();
  vi.advanceTimersByTime(1_000);
  expect(taken.length).toBe(84);
  for (let item = 500; item < 600; item++) items.delete(item);
  for (let item = 2_000; item < 2_050; item++) items.add(item);
  vi.advanceTimersByTime(11_000);
  expect(taken).toEqual([...items]);
  vi.advanceTimersByTime(12_000);
  expect(taken).toEqual([...items, ...items]);
});

test("nothing is looked after once all have gone, and all is again when one comes", () => {
  const items = new Set(["a"]);
  const take = vi.fn();
  const interval = createStaggeredInterval({ everyMs: 30, items, take });
  interval.start();
  items.clear();
  interval.stopWhenEmpty();
  expect(vi.getTimerCount()).toBe(0);
  items.add("b");
  interval.start();
  vi.advanceTimersByTime(30);
  expect(take.mock.calls).toEqual([["b"]]);
});
