import type { Logger } from "./log.ts";

/** Bounds the lines that strangers can cause: a flood of them costs the disk little, and the number left out is logged. */
export interface LogBudget {
  info(fields: Record<string, unknown>, message: string): void;
}

const BURST = 100;
const REFILL_MS = 1_000;

export function createLogBudget(options: { logger: Pick<Logger, "info">; now?: () => number }): LogBudget {
  const { logger, now = Date.now } = options;
  let left = BURST;
  let at = now();
  let omitted = 0;
  return {
    info(fields, message) {
      const time = now();
      left = Math.min(BURST, left + Math.max(0, time - at) / REFILL_MS);
      at = time;
      if (left < 1) {
        omitted += 1;
        return;
      }
      left -= 1;
      logger.info(omitted === 0 ? fields : { ...fields, omitted_before: omitted }, message);
      omitted = 0;
    },
  };
}
