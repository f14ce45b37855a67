import type { Launch } from "@toolyard/launch";

/** How long a server may take for one answer, and the launch's setting that says so, which reasons name. */
export interface Limit {
  seconds: number;
  setting: string;
}

export function limitOf({ options }: Launch, atMost: Limit | undefined): Limit {
  const { timeoutSeconds: seconds } = options.health;
  if (atMost !== undefined && atMost.seconds < seconds) return atMost;
  return { seconds, setting: seconds === options.timeoutSeconds ? "timeoutSeconds" : "health.timeoutSeconds" };
}
