/**
 * Starts in a row that come to nothing before a replica is FAILED. What once ran is most likely kept from it by something that
 * passes; what never did, by something that somebody has to mend, and is told so after the pauses of four failures, 15 s.
 */
export function mostAttempts({ deployedAt }: { deployedAt: number | null }): number {
  return deployedAt === null ? 5 : 10;
}

/** A replica that was READY this long starts counting afresh. */
export const FORGET_AFTER_MS = 30_000;

const FIRST_MS = 1_000;
const LONGEST_MS = 60_000;
/** Part of the delay that is random, so that replicas that fell together do not rise together. */
const JITTER = 0.2;

/**
 * Milliseconds to wait after the `attempt`-th failure (from 1): 1 s, doubling to 60 s, give or take 20 %.
 * `random` is from 0 to 1.
 */
export function backoffMs(attempt: number, random: number): number {
  const exact = Math.min(LONGEST_MS, FIRST_MS * 2 ** (attempt - 1));
  return Math.round(exact * (1 - JITTER + 2 * JITTER * random));
}
