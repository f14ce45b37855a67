import { constants } from "node:os";
import type { ReplicaLiveness } from "../runtime.ts";

const SIGNAL_BASE = 128;
const SIGNALS = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name]));

export const NOBODY_KNOWS = {
  alive: false,
  exitCode: null,
  signal: null,
  detail: null,
} as const satisfies ReplicaLiveness;

/** How a container ended. A program that a signal ended is told as its init tells it, by 128 and the signal's number. */
export function exitOf(code: number): { exitCode: number | null; signal: string | null } {
  const signal = SIGNALS.get(code - SIGNAL_BASE) ?? null;
  return { exitCode: signal === null ? code : null, signal };
}
