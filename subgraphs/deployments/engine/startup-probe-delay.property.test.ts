import fc from "fast-check";
import { expect, test } from "vitest";
import { backoffMs, mostAttempts } from "./backoff.ts";
import { startupProbeDelayMs } from "./startup-probe-delay.ts";

const anyKind = fc.constantFrom("stdio" as const, "http" as const, "image" as const, "remote" as const);
const unit = fc.double({ min: 0, max: 1, noNaN: true });
/** Startup probes of one start within so many ms, where each fails alike and takes no time. */
const probesWithin = (ms: number, pause: (failures: number) => number): number => {
  let probes = 1;
  for (let at = pause(1); at < ms; at += pause(probes)) probes += 1;
  return probes;
};

test("what comes up is found within a fifth of a second in its first minute, and then within a second", () => {
  fc.assert(
    fc.property(fc.constantFrom("stdio" as const, "http" as const), fc.nat(10_000), unit, (kind, failures, random) => {
      const pause = startupProbeDelayMs(kind, "ABSENT", failures + 1, 0, random);
      expect(pause).toBeGreaterThanOrEqual(25);
      expect(pause).toBeLessThanOrEqual(failures < 300 ? 200 : 1_000);
    }),
  );
});

test("what refuses, or runs elsewhere, is asked a dozen times in its first minute at most, then up to half a minute apart", () => {
  fc.assert(
    fc.property(
      fc.constantFrom("ABSENT" as const, "REFUSED" as const),
      fc.nat(9),
      unit,
      (startupFailure, attempts, random) => {
        const pause = (failures: number) => startupProbeDelayMs("remote", startupFailure, failures, attempts, random);
        expect(probesWithin(60_000, pause)).toBeLessThanOrEqual(12);
        expect(pause(1_000)).toBeGreaterThanOrEqual(24_000);
        expect(pause(1_000)).toBeLessThanOrEqual(36_000);
      },
    ),
  );
});

test("pauses grow, and differ by what is random", () => {
  fc.assert(
    fc.property(anyKind, fc.integer({ min: 1, max: 1_000 }), unit, (kind, failures, random) => {
      const pause = (count: number, chance: number) => startupProbeDelayMs(kind, "REFUSED", count, 0, chance);
      expect(pause(failures + 1, random)).toBeGreaterThanOrEqual(pause(failures, random));
      expect(pause(failures, 1)).toBeGreaterThan(pause(failures, 0));
    }),
  );
});

test("the pauses between the starts of what never ran are 20 s at most", () => {
  const failures = mostAttempts({ deployedAt: null }) - 1;
  const pauses = Array.from({ length: failures }, (_, failure) => backoffMs(failure + 1, 1));
  expect(pauses.reduce((sum, pause) => sum + pause, 0)).toBeLessThanOrEqual(20_000);
});
