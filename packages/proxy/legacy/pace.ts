import { setTimeout as delay } from "node:timers/promises";

/** How fast the streams of one server are read, all together: this process, which reads each event, serves every tool. */
export interface Pace {
  /** What to wait for before more is read. Rejects when the signal aborts. */
  keep(read: { bytes: number; events: number }, signal: AbortSignal): Promise<void> | undefined;
}

const BYTES_A_SECOND = 32 * 1024 * 1024;
const EVENTS_A_SECOND = 10_000;
/** So much at once is nothing to wait for. */
const BURST_MS = 1_000;

export function createPace({ now = () => performance.now() }: { now?: () => number } = {}): Pace {
  /** When all that was read would have been, at that speed. */
  let paidAt = Number.NEGATIVE_INFINITY;
  return {
    keep({ bytes, events }, signal) {
      const at = now();
      paidAt = Math.max(paidAt, at - BURST_MS) + Math.max(bytes / BYTES_A_SECOND, events / EVENTS_A_SECOND) * 1_000;
      return paidAt <= at ? undefined : delay(paidAt - at, undefined, { signal, ref: false });
    },
  };
}
