/**
 * How many requests may be sent behind each other on one connection to a server.
 *
 * Answers come in the order of the requests, so a slow one keeps those behind it waiting, and a server that works off a connection one
 * request at a time makes each wait for all before it. Both show in how far apart the answers of one batch come: where that is too
 * much the depth is halved, and it grows by one with every few batches that were fine (as TCP finds its window).
 */
export interface Pipelining {
  depth(): number;
  /** @param spreadMs between the first answer of a batch and its last */
  answered(spreadMs: number): void;
  /** One kept others waiting for so long that these were sent again, or the server closed the connection before it answered them. */
  failed(): void;
}

/** What a request may wait for those that it was sent with. */
const TOLERATED_SPREAD_MS = 5;
const BATCHES_A_STEP = 16;
/** So many in a row that were not fine though only two were sent, and the server is one that works them off one by one. */
const HOPELESS_AFTER = 8;
const FIRST_PAUSE_MS = 5_000;
const LONGEST_PAUSE_MS = 600_000;
/** So many batches without a failure, and the next pause is a short one again. */
const FORGIVEN_AFTER = 1_000;

/** @param options `maxDepth` 1: never; `now` in milliseconds on a clock that only goes forward */
export function createPipelining(options: { maxDepth: number; now?: () => number }): Pipelining {
  const { maxDepth, now = () => performance.now() } = options;
  let depth = Math.min(4, maxDepth);
  let good = 0;
  let bad = 0;
  let pauseMs = FIRST_PAUSE_MS;
  let pausedUntil = -Infinity;

  function pause(): void {
    const at = now();
    if (at < pausedUntil) return;
    good = 0;
    bad = 0;
    depth = Math.min(2, maxDepth);
    pausedUntil = at + pauseMs;
    pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2);
  }

  return {
    depth: () => (maxDepth === 1 || now() < pausedUntil ? 1 : depth),
    answered(spreadMs) {
      if (spreadMs > TOLERATED_SPREAD_MS) {
        good = 0;
        if (depth > 2) depth = Math.max(2, depth >> 1);
        else {
          // Two, so that the next batches show whether it is better by now.
          bad += 1;
          if (bad >= HOPELESS_AFTER) pause();
        }
        return;
      }
      bad = 0;
      good += 1;
      if (good % BATCHES_A_STEP === 0 && depth < maxDepth) depth += 1;
      if (good >= FORGIVEN_AFTER) pauseMs = FIRST_PAUSE_MS;
    },
    failed: pause,
  };
}
