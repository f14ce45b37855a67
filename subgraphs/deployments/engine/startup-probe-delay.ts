import type { DeployedLaunch } from "../deploying/deployed-launch.ts";

/** How a startup probe of a replica that was just started failed: nothing accepted the connection yet, or something answered with a refusal. */
export type StartupFailure = "ABSENT" | "REFUSED";

/** The first and last pause for a server being started here, which answers soon, and which it costs nothing to ask. */
const QUICK_MS = 25;
const QUICK_LAST_MS = 200;
/** Startup probes of a bridge at the first pace. */
const QUICK_PROBES = 120;
/** The pause for a server that has been starting for about a minute. */
const SLOW_MS = 1_000;
const SLOW_AFTER_PROBES = 300;
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
 * Milliseconds until a replica that starts is probed again. The first answer of a server that starts here is found at once;
 * a server that refuses is asked less often, since each request carries real credentials and fills its log.
 *
 * @param failures How often in a row it failed like this (from 1)
 * @param attempts Failed starts before this one
 * @param random From 0 to 1
 */
export function startupProbeDelayMs(
  kind: DeployedLaunch["kind"],
  startupFailure: StartupFailure,
  failures: number,
  attempts: number,
  random: number,
): number {
  if (startupFailure === "ABSENT" && kind !== "remote") {
    if (kind === "stdio" && failures <= QUICK_PROBES) return QUICK_MS;
    if (failures > SLOW_AFTER_PROBES) return SLOW_MS;
    const grown = kind === "stdio" ? failures - QUICK_PROBES : failures;
    return Math.min(QUICK_LAST_MS, QUICK_MS * 1.25 ** grown);
  }
  const doublings = Math.min(30, failures - 1 + (kind === "remote" ? attempts * DOUBLINGS_OF_ATTEMPT : 0));
  const exact = Math.min(REFUSED_LAST_MS[kind], REFUSED_MS * 2 ** doublings);
  return Math.round(exact * (1 - JITTER + 2 * JITTER * random));
}
