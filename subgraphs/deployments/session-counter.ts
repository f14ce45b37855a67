import { z } from "zod";
import type { Deployment, Replica } from "./deployment.ts";
import { originOf } from "./engine/replica-work.ts";

const TIMEOUT_MS = 500;
const bridgeHealth = z.object({ sessions: z.number().int() });

/** Asks a replica's bridge how many sessions are open in it. 0 for what has no bridge or does not answer in time. */
export function createSessionCounter(): (deployment: Deployment, replica: Replica) => Promise<number> {
  return async ({ launch, runtime }, replica) => {
    if (launch.kind !== "stdio" || runtime === "MOCK" || replica.port === null || replica.state.phase !== "READY")
      return 0;
    try {
      const answer = await fetch(`${originOf(replica)}/healthz`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
      return bridgeHealth.parse(await answer.json()).sessions;
    } catch {
      // It has just gone, or is too busy to say: there is nothing to count, and `health` tells of it.
      return 0;
    }
  };
}
