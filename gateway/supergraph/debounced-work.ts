import { setTimeout as delay } from "node:timers/promises";

/** Work that changes request, done once for all requests that come together. */
export interface DebouncedWork {
  /** Requests the work: it begins after `settleMs` without another request, and not before the work under way is done. */
  request(): void;
  /** Aborts the work under way and waits for it to end. */
  close(): Promise<void>;
}

/** @param work Must not reject */
export function createDebouncedWork(options: {
  settleMs: number;
  work: (signal: AbortSignal) => Promise<void>;
}): DebouncedWork {
  const { settleMs, work } = options;
  const stopping = new AbortController();
  const { signal } = stopping;
  let requested = 0;
  let running: Promise<void> | null = null;

  async function run(): Promise<void> {
    for (let seen = -1; seen !== requested && !signal.aborted;) {
      do {
        seen = requested;
        await delay(settleMs, undefined, { ref: false, signal }).catch(() => undefined); // aborted: seen below
      } while (seen !== requested && !signal.aborted);
      if (!signal.aborted) await work(signal);
    }
    running = null;
  }

  return {
    request() {
      requested += 1;
      if (!signal.aborted) running ??= run();
    },
    async close() {
      stopping.abort();
      await running;
    },
  };
}
