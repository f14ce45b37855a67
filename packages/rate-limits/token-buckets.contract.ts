import { expect, test } from "vitest";
import type { TokenBuckets, TokenBucketsOptions } from "./token-buckets.ts";

const MINUTE_MS = 60_000;
/** So few that none comes back while a test runs. */
const rare = { name: "rare", burst: 4, perMinute: 1 / 60, maxKeys: 100 };

/** What every adapter must show: two processes on the same buckets, or one twice. */
export function tokenBucketsContract(
  withBuckets: (
    options: TokenBucketsOptions,
    run: (buckets: readonly [TokenBuckets, TokenBuckets]) => Promise<void>,
  ) => Promise<void>,
): void {
  test("a burst is there, for each key, and then it is told how long to wait", () =>
    withBuckets(rare, async ([buckets]) => {
      const now = Date.now();
      for (let n = 0; n < 4; n++) expect(buckets.take("key", now)).toBe(0);
      await buckets.learn("key");
      const hour = 60 * MINUTE_MS;
      expect(buckets.take("key", now) / hour).toBeCloseTo(1, 1);
      expect(buckets.waitMs("key", now, 2) / hour).toBeCloseTo(2, 1);
      expect(buckets.take("Key", now)).toBe(0);
    }));

  test("what one took, another knows, whose taking both have", () =>
    withBuckets(rare, async ([one, other]) => {
      const now = Date.now();
      expect(one.take("key", now, 3)).toBe(0);
      await one.learn("key");
      await other.learn("key");
      expect(other.left("key", now)).toBeCloseTo(1, 1);
      expect(other.take("key", now, 2)).toBeGreaterThan(0);
      expect(other.take("key", now, 0.9)).toBe(0);
      await other.learn("key");
      await one.learn("key");
      expect(one.take("key", now)).toBeGreaterThan(0);
    }));

  test("many takings at once are all counted", () =>
    withBuckets({ ...rare, burst: 1_000 }, async ([one, other]) => {
      const now = Date.now();
      for (let n = 0; n < 200; n++) for (const buckets of [one, other]) expect(buckets.take("key", now)).toBe(0);
      await Promise.all([one.learn("key"), other.learn("key")]);
      await one.learn("key");
      expect(one.left("key", now)).toBeCloseTo(600, 0);
    }));

  test("a filled bucket is full for everybody who learns of it", () =>
    withBuckets(rare, async ([one, other]) => {
      const now = Date.now();
      one.take("key", now, 4);
      await one.learn("key");
      one.fill("key");
      expect(one.left("key", now)).toBe(4);
      await one.learn("key");
      await other.learn("key");
      expect(other.take("key", now, 4)).toBe(0);
    }));

  test("tokens come back with time, also after a clock was set back", () =>
    withBuckets({ ...rare, perMinute: 60 }, async ([buckets]) => {
      const hour = 60 * MINUTE_MS;
      const now = Date.now();
      expect(buckets.take("key", now + hour, 4)).toBe(0);
      expect(buckets.take("key", now)).toBeGreaterThan(0);
      expect(buckets.waitMs("key", now + 500)).toBeCloseTo(500, -1);
      expect(buckets.take("key", now + 1_000)).toBe(0);
    }));

  test("tokens come back with time", () =>
    withBuckets({ ...rare, perMinute: MINUTE_MS }, async ([buckets]) => {
      buckets.take("key", Date.now(), 4);
      await buckets.learn("key");
      await expect.poll(() => buckets.left("key", Date.now())).toBe(4);
      await expect.poll(async () => (await buckets.learn("key"), buckets.left("key", Date.now()))).toBe(4);
    }));
}
