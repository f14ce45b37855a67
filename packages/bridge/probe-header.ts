/** Set on a `tools/list` by whoever wants to know whether the server serves: the call goes to what runs. Its value: in how many seconds. */
export const probeHeader = "x-toolyard-probe";

const fallbackSeconds = 30;
const mostSeconds = 3_600;

export function probeLimitMs(value: string): number {
  const seconds = Number(value);
  return (seconds > 0 && seconds <= mostSeconds ? seconds : fallbackSeconds) * 1_000;
}
