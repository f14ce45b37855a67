import fc from "fast-check";
import { expect, test } from "vitest";
import { createFairQueue } from "./fair-queue.ts";

test("each caller's things keep their order, none is lost, and nobody has two turns while another waits", () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom("a", "b", "c", "d")), (callers) => {
      const queue = createFairQueue<number>();
      for (const [item, caller] of callers.entries()) queue.add(caller, item);
      expect(queue.size).toBe(callers.length);
      const taken = callers.map(() => queue.take(() => true));
      expect(queue.take(() => true)).toBeNull();
      for (const name of new Set(callers)) {
        const mine = taken.flatMap((one) => (one?.caller === name ? [one.item] : []));
        expect(mine).toEqual([...callers.keys()].filter((item) => callers[item] === name));
      }
      for (const [index, one] of taken.entries()) {
        const rest = taken.slice(index + 1).map((other) => other?.caller);
        const again = rest.indexOf(one?.caller);
        // Between two turns of one caller, each other who still waits has one.
        const between = rest.slice(0, Math.max(0, again));
        if (again !== -1)
          for (const other of new Set(rest.slice(again))) if (other !== one?.caller) expect(between).toContain(other);
      }
    }),
  );
});

test("those who may not have a turn keep their place", () => {
  const queue = createFairQueue<number>();
  queue.add("a", 1);
  queue.add("b", 2);
  expect(queue.take((caller) => caller !== "a")).toEqual({ caller: "b", item: 2 });
  expect(queue.take((caller) => caller !== "a")).toBeNull();
  expect(queue.take(() => true)).toEqual({ caller: "a", item: 1 });
});
