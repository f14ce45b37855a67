import type { Sealer } from "@toolyard/service-kit";
import { calleeOf } from "./callee.ts";
import type { Deployment, Replica } from "./deployment.ts";
import type { Prober } from "./engine/probe.ts";

/** Asks a replica's bridge how many sessions are open in it. 0 for what has no bridge or does not answer in time. */
export function createSessionCounter(options: {
  prober: Pick<Prober, "countSessions">;
  sealer: Sealer;
}): (deployment: Deployment, replica: Replica) => Promise<number> {
  const { prober, sealer } = options;
  return async (deployment, replica) => {
    const { launch, runtime } = deployment;
    if (launch.kind !== "stdio" || runtime === "MOCK" || replica.state.phase !== "READY") return 0;
    try {
      return await prober.countSessions(calleeOf(deployment, replica, sealer));
    } catch {
      // It has just gone, or is too busy to say: there is nothing to count, and `health` tells of it.
      return 0;
    }
  };
}
