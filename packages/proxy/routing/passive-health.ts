/**
 * A replica's health as its calls show it: `maxFailures` connect errors or resets within `windowMs` trip it for `firstTripMs`, doubled each
 * time until a call succeeds after a trip (outlier detection, as in Envoy).
 */
export interface PassiveHealth {
  failed(now: number): void;
  succeeded(): void;
  isTripped(now: number): boolean;
}

export function createPassiveHealth(
  options: { maxFailures?: number; windowMs?: number; firstTripMs?: number; maxTripMs?: number } = {},
): PassiveHealth {
  const { maxFailures = 5, windowMs = 10_000, firstTripMs = 10_000, maxTripMs = 320_000 } = options;
  let failures: number[] = [];
  let trippedUntil = 0;
  let tripMs = firstTripMs;
  return {
    failed(now) {
      failures = [...failures.filter((at) => now - at < windowMs), now];
      if (failures.length < maxFailures || now < trippedUntil) return;
      trippedUntil = now + tripMs;
      tripMs = Math.min(tripMs * 2, maxTripMs);
      failures = [];
    },
    succeeded() {
      // One good answer does not undo failures around it, but ends the doubling.
      if (tripMs !== firstTripMs) tripMs = firstTripMs;
    },
    isTripped: (now) => now < trippedUntil,
  };
}
