import { testMethods } from "@toolyard/testing/port-contract.ts";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { Cache } from "./cache.ts";

/** @param open An empty cache of JSON with room for a hundred small values and no thousand; `advance` lets time pass for it */
export function cacheContract(
  name: string,
  open: () => Promise<{ cache: Cache<object>; advance(ms: number): Promise<void>; close(): Promise<void> }>,
): void {
  describe(`Cache on ${name}`, () => {
    let opened: Awaited<ReturnType<typeof open>>;
    let cache: Cache<object>;
    let count = 0;
    const newKey = () => `key ${++count} \u{1f600}`;
    beforeAll(async () => {
      opened = await open();
      ({ cache } = opened);
    });
    afterAll(() => opened.close());

    testMethods<Cache<object>>({
      get() {
        test("has nothing that was not set, whatever its name", async () => {
          for (const key of ["none", "", "__proto__", "constructor"]) expect(await cache.get(key)).toBeUndefined();
        });
      },

      set() {
        test("keeps JSON as it is, and the last of a key", async () => {
          const key = newKey();
          const value = { text: "\u{1f600}", list: [1, null, { a: false }], "": "" };
          await cache.set(key, { old: true });
          await cache.set(key, value);
          expect(await cache.get(key)).toEqual(value);
        });

        test("keeps it until it expires", async () => {
          const [short, long] = [newKey(), newKey()];
          await cache.set(short, { is: "short" }, 60_000);
          await cache.set(long, { is: "long" });
          await opened.advance(60_001);
          expect(await cache.get(short)).toBeUndefined();
          expect(await cache.get(long)).toEqual({ is: "long" });
        });
      },

      delete() {
        test("forgets a key, and none is no error", async () => {
          const key = newKey();
          await cache.set(key, {});
          await cache.delete(key);
          await cache.delete(key);
          expect(await cache.get(key)).toBeUndefined();
        });
      },

      wrap() {
        test("makes a value once for all who ask at once, and again when it has expired", async () => {
          const key = newKey();
          const make = vi.fn(async () => ({ made: make.mock.calls.length }));
          const all = await Promise.all([1, 2, 3].map(() => cache.wrap(key, make, () => 60_000)));
          expect(all).toEqual([{ made: 1 }, { made: 1 }, { made: 1 }]);
          expect(await cache.wrap(key, make, 60_000)).toEqual({ made: 1 });
          await opened.advance(60_001);
          expect(await cache.wrap(key, make, 60_000)).toEqual({ made: 2 });
        });

        test("does not keep an error", async () => {
          const key = newKey();
          await expect(cache.wrap(key, () => Promise.reject(new Error("no")))).rejects.toThrow("no");
          expect(await cache.wrap(key, async () => ({ is: "made" }))).toEqual({ is: "made" });
        });

        test("does not keep what was deleted while it was made", async () => {
          const key = newKey();
          const old = Promise.withResolvers<object>();
          const waiting = cache.wrap(key, () => old.promise);
          await cache.delete(key);
          old.resolve({ is: "old" });
          await waiting;
          expect(await cache.get(key)).toBeUndefined();
        });
      },
    });
  });
}
