import type { ServiceHealth } from "../graph/subgraph.ts";

/** A clock that several processes go by, as one of them has it: a database's, or another part's. */
export interface MeasuredClock {
  /** Epoch milliseconds by that clock; by this host's own until it was measured. Jumps of the own clock do not reach it. */
  now(): number;
  /** The milliseconds that this host's own clock is ahead of it; 0 until it was measured. */
  aheadMs(): number;
  /** Measures it now. @throws what `ask` throws */
  measure(): Promise<void>;
  /** Measures it again and again until `close`; keeps no process alive. What was known stays while nobody answers. */
  start(): void;
  close(): void;
}

/** What was told, when by the monotonic clock, and how far from it that may have been. */
interface Measurement {
  at: number;
  time: number;
  errorMs: number;
}

const EVERY_MS = 15_000;
/** The own clock was set, or the host slept, where it moved so far against the monotonic one. */
const JUMP_MS = 1_000;
/** Clocks run apart by less between two measurements. */
const DRIFT_MS = 2;

export function createMeasuredClock(options: {
  /** Epoch milliseconds by the clock to follow. */
  ask: () => Promise<number>;
  own?: () => number;
  monotonic?: () => number;
  everyMs?: number;
}): MeasuredClock {
  const { ask, own = Date.now, monotonic = () => performance.now(), everyMs = EVERY_MS } = options;
  let known: Measurement | null = null;
  let measuring: Promise<void> | null = null;
  let timer: NodeJS.Timeout | undefined;
  let shift = own() - monotonic();

  const timeAt = ({ at, time }: Measurement, when: number) => time + when - at;

  async function measureOnce(): Promise<void> {
    const begun = monotonic();
    const time = await ask();
    const errorMs = (monotonic() - begun) / 2;
    const fresh: Measurement = { at: begun + errorMs, time, errorMs };
    // What was told faster is nearer, as long as the two agree.
    const agrees = known && Math.abs(timeAt(known, fresh.at) - time) <= known.errorMs + errorMs + DRIFT_MS;
    if (!known || !agrees || errorMs <= known.errorMs) known = fresh;
  }

  function measure(): Promise<void> {
    return (measuring ??= measureOnce().finally(() => {
      measuring = null;
    }));
  }

  /** Those who rely on the answer are told by what they do themselves. */
  const measureAgain = () => void measure().catch(() => undefined);

  function now(): number {
    if (!known) return own();
    const when = monotonic();
    if (Math.abs(own() - when - shift) > JUMP_MS) {
      shift = own() - when;
      measureAgain();
    }
    return Math.floor(timeAt(known, when));
  }

  return {
    now,
    aheadMs: () => own() - now(),
    measure,
    start() {
      timer ??= setInterval(measureAgain, everyMs).unref();
    },
    close: () => clearInterval(timer),
  };
}

/** From here on `/health` shows that two clocks differ. */
export const CLOCKS_DIFFER_MS = 5_000;

/** `clock` of `/health`: nothing while two clocks agree. @param say Says in a sentence which are "7 s ahead of", or "7 s behind", each other */
export function clockHealth(aheadMs: number, say: (difference: string) => string): ServiceHealth[] {
  if (Math.abs(aheadMs) < CLOCKS_DIFFER_MS) return [];
  const detail = `${say(inSeconds(aheadMs))} Set the clocks, as by NTP.`;
  return [{ name: "clock", status: "degraded", essential: false, responseTimeMs: 0, detail }];
}

/** "7 s ahead of", "120 s behind". */
export function inSeconds(aheadMs: number): string {
  return `${Math.round(Math.abs(aheadMs) / 1_000)} s ${aheadMs > 0 ? "ahead of" : "behind"}`;
}
