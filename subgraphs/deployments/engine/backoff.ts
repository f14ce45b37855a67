/** Failed starts in a row before a replica is FAILED, where the reason most likely passes: some four minutes. */
export const MOST_ATTEMPTS = 10;

/** The same by its deployment. A server that once ran most likely fails for a passing reason; one that never ran needs somebody to mend it, and they learn so sooner. */
export function mostAttempts({ deployedAt }: { deployedAt: number | null }): number {
  return deployedAt === null ? 5 : MOST_ATTEMPTS;
}

/** The failures of a replica that was READY this long are forgotten. */
export const FORGET_AFTER_MS = 30_000;

const FIRST_MS = 1_000;
const LONGEST_MS = 60_000;
/** The random part of the delay, so that replicas that failed together do not restart together. */
const JITTER = 0.2;
export const LONGEST_BACKOFF_MS = LONGEST_MS * (1 + JITTER);

/**
 * Milliseconds to wait after the `attempt`-th failure (from 1): doubling up to a maximum, with jitter.
 * `random` is from 0 to 1.
 */
export function backoffMs(attempt: number, random: number): number {
  const exact = Math.min(LONGEST_MS, FIRST_MS * 2 ** (attempt - 1));
  return Math.round(exact * (1 - JITTER + 2 * JITTER * random));
}
