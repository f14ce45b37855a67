import fc from "fast-check";
import { expect, test } from "vitest";
import { createTokenBuckets, wholeSeconds } from "./token-buckets.ts";

test("never more than the burst and what was refilled go through, and who waits as long as told gets through", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 120 }), fc.array(fc.nat(5_000), { maxLength: 200 }), (perMinute, gaps) => {
      const buckets = createTokenBuckets({ burst: perMinute, perMinute, maxKeys: 10 });
      let now = 0;
      let passed = 0;
      for (const gap of gaps) {
        now += gap;
        const wait = buckets.take("key", now);
        if (wait === 0) passed += 1;
        else {
          now += wholeSeconds(wait) * 1000;
          expect(buckets.take("key", now)).toBe(0);
          passed += 1;
        }
        expect(passed).toBeLessThanOrEqual(perMinute + (now / 60_000) * perMinute + 1e-6);
      }
      expect(buckets.take("another", now)).toBe(0);
    }),
  );
});

test("several are taken together or not at all, and a filled bucket is as a new one", () => {
  const buckets = createTokenBuckets({ burst: 4, perMinute: 60, maxKeys: 10 });
  expect(buckets.take("key", 0, 3)).toBe(0);
  expect(buckets.take("key", 0, 3)).toBe(2_000);
  expect(buckets.waitMs("key", 500, 3)).toBe(1_500);
  expect(buckets.left("key", 500)).toBe(1.5);
  expect(buckets.left("key", 60_000)).toBe(4);
  buckets.fill("key");
  expect(buckets.left("key", 500)).toBe(4);
});

test("keys that were not used for longest are forgotten, others stay bounded", () => {
  const buckets = createTokenBuckets({ burst: 1, perMinute: 1, maxKeys: 20_000 });
  buckets.take("quiet", 0);
  buckets.take("used", 0);
  for (let other = 0; other < 20_000; other += 1) {
    buckets.take(`other ${other}`, 0);
    if (other % 1_000 === 0) expect(buckets.take("used", 0)).toBeGreaterThan(0);
  }
  expect(buckets.take("quiet", 0)).toBe(0);
});
