import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "../errors/errors.ts";
import type { Logger } from "../process/log.ts";

const FIRST_WAIT_MS = 100;
const LAST_WAIT_MS = 5_000;
/** After which a stream that says nothing is known to be open: no attempt to open one takes as long before it fails. */
const OPEN_MS = 45_000;

/**
 * Reads a stream until `signal` aborts. A stream that breaks or ends is opened again, with a growing delay while nothing comes.
 * Never throws. An outage is logged once, not at each attempt, and its end.
 */
export async function follow<Item>(options: {
  /** What is followed, for the log. */
  name: string;
  /** Called for each attempt, so that it can resume where the last one ended. */
  open: () => AsyncIterable<Item>;
  /** An error thrown here breaks the stream: an unreadable item may matter, so it is asked for again. */
  take: (item: Item) => void;
  /** Called with the reason why a stream broke, before it is opened again. */
  onBroken?: (error: unknown) => void;
  signal: AbortSignal;
  logger: Logger;
  openMs?: number;
}): Promise<void> {
  const { name, open, take, onBroken, signal, logger, openMs = OPEN_MS } = options;
  let waitMs = FIRST_WAIT_MS;
  let isReported = false;
  const works = () => {
    waitMs = FIRST_WAIT_MS;
    if (isReported) logger.info({ stream: name }, "a stream works again");
    isReported = false;
  };
  while (!signal.aborted) {
    const opened = setTimeout(works, openMs).unref();
    try {
      for await (const item of open()) {
        take(item);
        works();
      }
    } catch (error) {
      if (signal.aborted) return;
      onBroken?.(error);
      if (!isReported)
        logger.warn(
          { stream: name, reason: messageOf(error) },
          "a stream broke and is opened again; what is known stays in use",
        );
      isReported = true;
    } finally {
      clearTimeout(opened);
    }
    // With jitter: all followers of a stream lost it at the same moment.
    await delay(waitMs * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => undefined); // aborted: the loop ends
    waitMs = Math.min(waitMs * 2, LAST_WAIT_MS);
  }
}
