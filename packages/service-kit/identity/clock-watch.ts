import type { ServiceHealth } from "../graph/subgraph.ts";
import type { Logger } from "../process/log.ts";
import { CLOCKS_DIFFER_MS, clockHealth, inSeconds } from "../process/measured-clock.ts";

/** What the signed calls that come to a part tell of the clocks of those that sign them. */
export interface ClockWatch {
  /** @param aheadMs How far the time at which a call was signed is ahead of the time at which it came */
  note(aheadMs: number, isRefused: boolean): void;
  /** `clock`, while such calls come and for a quarter of a minute after. */
  health(): ServiceHealth[];
}

/** A signature is sent again for so long, and has whole seconds. */
const OLDEST_MS = 11_000;
const SHOWN_MS = 15_000;
const LOG_INTERVAL_MS = 60_000;

/** @param options.monotonic Milliseconds by a clock that never jumps */
export function createClockWatch(options: {
  logger: Pick<Logger, "error" | "warn">;
  /** Who signs, as in "the gateway". */
  who: string;
  monotonic?: () => number;
}): ClockWatch {
  const { logger, who, monotonic = () => performance.now() } = options;
  let last: { at: number; aheadMs: number; isRefused: boolean } | null = null;
  const loggedAt = { error: -Infinity, warn: -Infinity };
  const apart = (aheadMs: number) => `The clock of ${who} is ${inSeconds(aheadMs)} this host's.`;

  return {
    note(aheadMs, isRefused) {
      if (!isRefused && aheadMs < CLOCKS_DIFFER_MS && aheadMs > -OLDEST_MS - CLOCKS_DIFFER_MS) return;
      last = { at: monotonic(), aheadMs, isRefused };
      const level = isRefused ? "error" : "warn";
      if (last.at - loggedAt[level] < LOG_INTERVAL_MS) return;
      loggedAt[level] = last.at;
      logger[level](
        { seconds: Math.round(aheadMs / 1_000) },
        `${apart(aheadMs)} ${isRefused ? "Signed calls are refused for that" : "Signed calls are refused where it becomes more"}: set the clocks, as by NTP.`,
      );
    },
    health() {
      if (!last || monotonic() - last.at > SHOWN_MS) return [];
      const { aheadMs, isRefused } = last;
      return clockHealth(aheadMs, () => `${apart(aheadMs)}${isRefused ? " Its calls are refused." : ""}`);
    },
  };
}
