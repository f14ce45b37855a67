import type { DeployedLaunch } from "../deploying/deployed-launch.ts";

/** How a greeting of a replica that was just started failed: nothing accepted the connection yet, or something answered with a refusal. */
export type Rebuff = "ABSENT" | "REFUSED";

/** The first and last pause for a server being started here, which answers soon, and which it costs nothing to ask. */
const QUICK_MS = 25;
const QUICK_LAST_MS = 200;
/** Greetings of a bridge at the first pace. */
const QUICK_GREETINGS = 120;
/** The pause for a server that has been starting for about a minute. */
const SLOW_MS = 1_000;
const SLOW_AFTER_GREETINGS = 300;
/** A server that refuses, or runs elsewhere, is asked ever less often. */
const REFUSED_MS = 250;
const REFUSED_LAST_MS: Record<DeployedLaunch["kind"], number> = {
  stdio: 1_000,
  http: 5_000,
  image: 5_000,
  remote: 30_000,
  unreadable: 30_000,
};
/** A start after a failed one continues almost at the pace at which that ended. */
const DOUBLINGS_OF_ATTEMPT = 3;
const JITTER = 0.2;

/**
 * Milliseconds until a replica that starts is greeted again. The first answer of a server that starts here is found at once;
 * a server that refuses is asked less often, since each request carries real credentials and fills its log.
 *
 * @param rebuffs How often in a row it was rebuffed like this (from 1)
 * @param attempts Failed starts before this one
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
