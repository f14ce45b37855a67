/** Set on a `tools/list` that probes whether the server serves: the call goes to running children only. Its value: the time limit in seconds. */
export const probeHeader = "x-toolyard-probe";

const fallbackSeconds = 30;
const mostSeconds = 3_600;

export function probeLimitMs(value: string): number {
  const seconds = Number(value);
  return (seconds > 0 && seconds <= mostSeconds ? seconds : fallbackSeconds) * 1_000;
}
