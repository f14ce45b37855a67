import fc from "fast-check";
import { expect, test } from "vitest";
import { createLruCache } from "./lru-cache.ts";

const operation = fc.record({
  set: fc.boolean(),
  key: fc.constantFrom("a", "b", "c", "d", "e", "f"),
  weight: fc.integer({ min: 0, max: 12 }),
});

test("the cache never holds more than it may, and what it holds is what was set last", () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
      const cache = createLruCache<number>({ maxEntries: 4, maxWeight: 160 });
      const weights = new Map<string, number>();
      operations.forEach(({ set, key, weight }, index) => {
        const value = index + 1;
        if (set) {
          cache.set(key, value, weight);
          weights.set(key, value);
          expect(cache.get(key)).toBe(weight * 16 > 160 ? undefined : value);
        } else {
          const found = cache.get(key);
          if (found !== undefined) expect(found).toBe(weights.get(key));
        }
        expect(cache.size).toBeLessThanOrEqual(4);
      });
    }),
    { numRuns: 200 },
  );
});

test("what was used last stays", () => {
  const cache = createLruCache<number>({ maxEntries: 3 });
  for (const [index, key] of ["a", "b", "c"].entries()) cache.set(key, index);
  cache.get("a");
  cache.set("d", 3);
  expect([cache.get("a"), cache.get("b"), cache.get("c"), cache.get("d")]).toEqual([0, undefined, 2, 3]);
});

test("weight counts as well as number", () => {
  const cache = createLruCache<number>({ maxEntries: 100, maxWeight: 100 });
  for (let i = 0; i < 50; i++) cache.set(`k${i}`, i, 5);
  expect(cache.size).toBe(20);
  expect(cache.get("k49")).toBe(49);
});
