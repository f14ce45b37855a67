import { setTimeout as delay } from "node:timers/promises";

/** How fast the streams of one server are read, all together: this process, which reads each event, serves every tool. */
export interface Throttle {
  /** Undefined when more may be read at once, else a promise of the moment when it may. Rejects when the signal aborts. */
  keep(read: { bytes: number; events: number }, signal: AbortSignal): Promise<void> | undefined;
}

const BYTES_A_SECOND = 32 * 1024 * 1024;
const EVENTS_A_SECOND = 10_000;
/** How far reading may run ahead of that speed without a wait. */
const BURST_MS = 1_000;

export function createThrottle({ now = () => performance.now() }: { now?: () => number } = {}): Throttle {
  /** The time at which everything read so far would have been read at that speed. */
  let paidAt = Number.NEGATIVE_INFINITY;
  return {
    keep({ bytes, events }, signal) {
      const at = now();
      paidAt = Math.max(paidAt, at - BURST_MS) + Math.max(bytes / BYTES_A_SECOND, events / EVENTS_A_SECOND) * 1_000;
      return paidAt <= at ? undefined : delay(paidAt - at, undefined, { signal, ref: false });
    },
  };
}
