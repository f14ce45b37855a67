import type { DeployedLaunch } from "../deploying/deployed-launch.ts";

/** How a greeting of a replica that was just started failed: nothing took the connection yet, or something answered that it will not. */
export type Rebuff = "ABSENT" | "REFUSED";

/** What is being started here answers some day soon, and asking it costs nothing: at first, and at last. */
const QUICK_MS = 25;
const QUICK_LAST_MS = 200;
/** Greetings of a bridge at the first pace: 3 s of them. */
const QUICK_GREETINGS = 120;
/** What has not come up after a minute is asked once a second. */
const SLOW_MS = 1_000;
const SLOW_AFTER_GREETINGS = 300;
/** What answers but refuses, or runs elsewhere, is asked ever more seldom. */
const REFUSED_MS = 250;
const REFUSED_LAST_MS: Record<DeployedLaunch["kind"], number> = {
  stdio: 1_000,
  http: 5_000,
  image: 5_000,
  remote: 30_000,
  unreadable: 30_000,
};
/** A start after a failed one goes on almost where that ended. */
const DOUBLINGS_OF_ATTEMPT = 3;
const JITTER = 0.2;

/**
 * Milliseconds until a replica that starts is greeted again. Of what comes up here the first answer is found at once; what
 * refuses is asked with real credentials each time, and its log fills.
 *
 * @param rebuffs How often in a row it was rebuffed like this (from 1)
 * @param attempts Starts before this one that came to nothing
 * @param random From 0 to 1
 */
export function greetingPauseMs(
  kind: DeployedLaunch["kind"],
  rebuff: Rebuff,
  rebuffs: number,
  attempts: number,
  random: number,
): number {
  if (rebuff === "ABSENT" && kind !== "remote") {
    if (kind === "stdio" && rebuffs <= QUICK_GREETINGS) return QUICK_MS;
    if (rebuffs > SLOW_AFTER_GREETINGS) return SLOW_MS;
    const grown = kind === "stdio" ? rebuffs - QUICK_GREETINGS : rebuffs;
    return Math.min(QUICK_LAST_MS, QUICK_MS * 1.25 ** grown);
  }
  const doublings = Math.min(30, rebuffs - 1 + (kind === "remote" ? attempts * DOUBLINGS_OF_ATTEMPT : 0));
  const exact = Math.min(REFUSED_LAST_MS[kind], REFUSED_MS * 2 ** doublings);
  return Math.round(exact * (1 - JITTER + 2 * JITTER * random));
}
