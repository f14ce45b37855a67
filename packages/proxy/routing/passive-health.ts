/**
 * A replica's health as its calls show it: a few connect errors or resets within a short time trip it for a while. Then it is half open: one
 * call is its trial, whose success closes it and whose failure trips it for twice as long (circuit breaker, as in Hystrix; outlier detection,
 * as in Envoy).
 */
export interface PassiveHealth {
  failed(now: number): void;
  succeeded(now: number): void;
  /** A call goes to it: the trial, if one is due. */
  chosen(now: number): void;
  /** Whether calls are to go elsewhere. */
  isTripped(now: number): boolean;
}

const MAX_FAILURES = 5;
const WINDOW_MS = 10_000;
const FIRST_TRIP_MS = 10_000;
const MAX_TRIP_MS = 320_000;
/** A trial that has come to no end by then, such as a stream, is followed by another. */
const TRIAL_MS = 10_000;

export function createPassiveHealth(): PassiveHealth {
  let failures: number[] = [];
  let isOpen = false;
  let trippedUntil = 0;
  let trialUntil = 0;
  let tripMs = FIRST_TRIP_MS;
  return {
    failed(now) {
      // Of calls that were under way when it tripped.
      if (isOpen && now < trippedUntil) return;
      failures = [...failures.filter((at) => now - at < WINDOW_MS), now];
      if (failures.length < MAX_FAILURES && !isOpen) return;
      isOpen = true;
      trippedUntil = now + tripMs;
      trialUntil = 0;
      tripMs = Math.min(tripMs * 2, MAX_TRIP_MS);
      failures = [];
    },
    succeeded(now) {
      if (!isOpen || now < trippedUntil) return;
      isOpen = false;
      tripMs = FIRST_TRIP_MS;
    },
    chosen(now) {
      if (isOpen && now >= trippedUntil && now >= trialUntil) trialUntil = now + TRIAL_MS;
    },
    isTripped: (now) => isOpen && (now < trippedUntil || now < trialUntil),
  };
}
