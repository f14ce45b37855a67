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
  /** How long results may wait for each other while tasks that were claimed ahead wait. */
  resultsWaitMs(): number;
}

/** The most ahead, of each task that may run at once. */
const MOST_ROUNDS = 16;
/** What the newest measurement counts. */
const WEIGHT = 0.2;

/**
 * Handlers that end about as fast as a claim is made would wait for claims most of the time, each with a commit. So of quick tasks as many are claimed
 * ahead as end in some milliseconds, the more the longer a commit takes; they wait about that long. Of tasks beside which a claim hardly counts
 * there are none, and other processes have them.
 */
export function createClaimPace(concurrency: number): ClaimPace {
  let claimMs = 0;
  let handlerMs: number | null = null;
  const next = (mean: number | null, ms: number) => (mean === null ? ms : mean + WEIGHT * (ms - mean));
  const windowMs = () => between(10, 4 * claimMs, 50);
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
      if (handlerMs === null || handlerMs > between(20, 20 * claimMs, 125)) return 0;
      // As many for each that runs, since all may end at once.
      return concurrency * between(1, Math.round(windowMs() / Math.max(handlerMs, 0.001)), MOST_ROUNDS);
    },
    resultsWaitMs: () => windowMs() / 2,
  };
}

const between = (least: number, value: number, most: number) => Math.max(least, Math.min(value, most));
