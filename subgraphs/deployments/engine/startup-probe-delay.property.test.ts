import fc from "fast-check";
import { expect, test } from "vitest";
import { backoffMs, mostAttempts } from "./backoff.ts";
import { greetingPauseMs } from "./startup-probe-delay.ts";

const anyKind = fc.constantFrom("stdio" as const, "http" as const, "image" as const, "remote" as const);
const unit = fc.double({ min: 0, max: 1, noNaN: true });
/** Greetings of one start within so many ms, where each is rebuffed alike and takes no time. */
const greetingsWithin = (ms: number, pause: (rebuffs: number) => number): number => {
  let greetings = 1;
  for (let at = pause(1); at < ms; at += pause(greetings)) greetings += 1;
  return greetings;
};

test("what comes up is found within a fifth of a second in its first minute, and then within a second", () => {
  fc.assert(
    fc.property(fc.constantFrom("stdio" as const, "http" as const), fc.nat(10_000), unit, (kind, rebuffs, random) => {
      const pause = greetingPauseMs(kind, "ABSENT", rebuffs + 1, 0, random);
      expect(pause).toBeGreaterThanOrEqual(25);
      expect(pause).toBeLessThanOrEqual(rebuffs < 300 ? 200 : 1_000);
    }),
  );
});

test("what refuses, or runs elsewhere, is asked a dozen times in its first minute at most, then up to half a minute apart", () => {
  fc.assert(
    fc.property(fc.constantFrom("ABSENT" as const, "REFUSED" as const), fc.nat(9), unit, (rebuff, attempts, random) => {
      const pause = (rebuffs: number) => greetingPauseMs("remote", rebuff, rebuffs, attempts, random);
      expect(greetingsWithin(60_000, pause)).toBeLessThanOrEqual(12);
      expect(pause(1_000)).toBeGreaterThanOrEqual(24_000);
      expect(pause(1_000)).toBeLessThanOrEqual(36_000);
    }),
  );
});

test("pauses grow, and differ by what is random", () => {
  fc.assert(
    fc.property(anyKind, fc.integer({ min: 1, max: 1_000 }), unit, (kind, rebuffs, random) => {
      const pause = (count: number, chance: number) => greetingPauseMs(kind, "REFUSED", count, 0, chance);
      expect(pause(rebuffs + 1, random)).toBeGreaterThanOrEqual(pause(rebuffs, random));
      expect(pause(rebuffs, 1)).toBeGreaterThan(pause(rebuffs, 0));
    }),
  );
});

test("the pauses between the starts of what never ran are 20 s at most", () => {
  const failures = mostAttempts({ deployedAt: null }) - 1;
  const pauses = Array.from({ length: failures }, (_, failure) => backoffMs(failure + 1, 1));
  expect(pauses.reduce((sum, pause) => sum + pause, 0)).toBeLessThanOrEqual(20_000);
});
