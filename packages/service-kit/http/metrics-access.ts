import { hash, timingSafeEqual } from "node:crypto";
import type { Caller } from "../identity/caller.ts";
import { ToolyardError } from "../errors/errors.ts";
import { bearerOf } from "./bearer.ts";

/**
 * Metrics tell who does what here, and how much, so they always need a credential. A request from this host proves nothing:
 * a reverse proxy and every replica are on it, too.
 * @throws ToolyardError UNAUTHENTICATED or FORBIDDEN unless METRICS_TOKEN or an administrator's credential is given.
 */
export async function requireMetricsAccess(options: {
  /** The header's value. */
  authorization: string | undefined;
  /** Null when the operator set none. */
  metricsToken: string | null;
  authenticate: () => Caller | Promise<Caller>;
}): Promise<void> {
  const { authorization, metricsToken, authenticate } = options;
  const credential = bearerOf(authorization);
  if (credential === null)
    throw new ToolyardError(
      "UNAUTHENTICATED",
      "Metrics take a bearer token (`Authorization: Bearer …`): METRICS_TOKEN, as the operator set it, or an administrator's access token or API key.",
    );
  if (metricsToken !== null && isSame(credential, metricsToken)) return;
  (await authenticate()).require("metrics:read");
}

/** Compares digests, so that neither time nor length tells how much of a guess is right. */
function isSame(given: string, wanted: string): boolean {
  return timingSafeEqual(hash("sha256", given, "buffer"), hash("sha256", wanted, "buffer"));
}
