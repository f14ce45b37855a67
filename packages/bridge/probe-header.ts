/** Set on a `tools/list` that probes whether the server serves: the call goes to running children only. Its value: the time limit in seconds. */
export const PROBE_HEADER = "x-toolyard-probe";

const FALLBACK_SECONDS = 30;
const MAX_SECONDS = 3_600;

export function probeLimitMs(value: string): number {
  const seconds = Number(value);
  return (seconds > 0 && seconds <= MAX_SECONDS ? seconds : FALLBACK_SECONDS) * 1_000;
}
