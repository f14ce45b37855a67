/** The pace of one kind's tasks in this process, by which it claims more of them than it can begin at once. */
export interface ClaimPace {
  /** How long a claim took, with its commit. */
  claimed(ms: number): void;
  /** How long a handler worked. */
  handled(ms: number): void;
  /** Tasks that were claimed ahead wait too long: none are until a handler has ended. */
  stuck(): void;
  /** How many tasks to have claimed besides those that run. */
  ahead(): number;
}

/** Of each task that may run at once. */
const MOST_AHEAD = 16;
/** About as long a task may wait that is claimed ahead, unless claims take longer. */
const AHEAD_MS = 10;
/** What the newest measurement counts. */
const WEIGHT = 0.2;

/**
 * Handlers that end faster than a claim is made would wait for claims most of the time, each with a commit. As many tasks are claimed ahead as end
 * in AHEAD_MS, or while two claims are made; of tasks that take much longer there are none, and other processes have them.
 */
export function createClaimPace(concurrency: number): ClaimPace {
  let claimMs: number | null = null;
  let handlerMs: number | null = null;
  const next = (mean: number | null, ms: number) => (mean === null ? ms : mean + WEIGHT * (ms - mean));
  return {
    claimed(ms) {
      claimMs = next(claimMs, ms);
    },
    handled(ms) {
      handlerMs = next(handlerMs, ms);
    },
    stuck() {
      handlerMs = null;
    },
    ahead() {
      if (claimMs === null || handlerMs === null) return 0;
      return Math.min(
        MOST_AHEAD * concurrency,
        Math.round((concurrency * Math.max(2 * claimMs, AHEAD_MS)) / Math.max(handlerMs, 0.001)),
      );
    },
  };
}
