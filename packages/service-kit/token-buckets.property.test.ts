import fc from "fast-check";
import { expect, test } from "vitest";
import { createRateLimiter } from "./rate-limit.ts";

test("never more than the burst and what was refilled go through, and who waits as long as told gets through", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 120 }),
      fc.array(fc.nat(5_000), { maxLength: 200 }),
      (callsPerMinute, gaps) => {
        const limiter = createRateLimiter({ callsPerMinute });
        let now = 0;
        let passed = 0;
        for (const gap of gaps) {
          now += gap;
          const wait = limiter.take("key", now);
          if (wait === 0) passed += 1;
          else {
            now += wait * 1000;
            expect(limiter.take("key", now)).toBe(0);
            passed += 1;
          }
          expect(passed).toBeLessThanOrEqual(callsPerMinute + (now / 60_000) * callsPerMinute + 1e-6);
        }
        expect(limiter.take("another", now)).toBe(0);
      },
    ),
  );
});

test("0 is no bound", () => {
  const limiter = createRateLimiter({ callsPerMinute: 0 });
  for (let calls = 0; calls < 1_000; calls += 1) expect(limiter.take("key", 0)).toBe(0);
});

test("keys that were not used for longest are forgotten, others stay bounded", () => {
  const limiter = createRateLimiter({ callsPerMinute: 1 });
  limiter.take("quiet", 0);
  limiter.take("used", 0);
  for (let other = 0; other < 20_000; other += 1) {
    limiter.take(`other ${other}`, 0);
    if (other % 1_000 === 0) expect(limiter.take("used", 0)).toBeGreaterThan(0);
  }
  expect(limiter.take("quiet", 0)).toBe(0);
});
