/**
 * A replica's health as its calls show it: a few connect errors or resets within a short time trip it for a while, doubled each
 * time until a call succeeds after a trip (outlier detection, as in Envoy).
 */
export interface PassiveHealth {
  failed(now: number): void;
  succeeded(): void;
  isTripped(now: number): boolean;
}

const MAX_FAILURES = 5;
const WINDOW_MS = 10_000;
const FIRST_TRIP_MS = 10_000;
const MAX_TRIP_MS = 320_000;

export function createPassiveHealth(): PassiveHealth {
  let failures: number[] = [];
  let trippedUntil = 0;
  let tripMs = FIRST_TRIP_MS;
  return {
    failed(now) {
      failures = [...failures.filter((at) => now - at < WINDOW_MS), now];
      if (failures.length < MAX_FAILURES || now < trippedUntil) return;
      trippedUntil = now + tripMs;
      tripMs = Math.min(tripMs * 2, MAX_TRIP_MS);
      failures = [];
    },
    succeeded() {
      // One good answer does not undo failures around it, but ends the doubling.
      if (tripMs !== FIRST_TRIP_MS) tripMs = FIRST_TRIP_MS;
    },
    isTripped: (now) => now < trippedUntil,
  };
}
