import type { Sealer } from "@toolyard/service-kit";
import { calleeOf } from "./deploying/callee.ts";
import type { Deployment, Replica } from "./deployment.ts";
import type { OtherHosts } from "./hosts/other-hosts.ts";
import type { DeploymentRecord } from "./store/deployment-store.ts";
import type { Prober } from "./engine/probe.ts";

export type SessionCounter = (deployment: Deployment, replica: Replica) => Promise<number>;

/** Asks a replica's bridge, or its host, how many sessions are open in it. 0 for a replica without a bridge, or one that does not answer in time. */
export function createSessionCounter(options: {
  prober: Pick<Prober, "countSessions">;
  sealer: Sealer;
  otherHosts: Pick<OtherHosts, "sessions">;
}): SessionCounter {
  const { prober, sealer, otherHosts } = options;
  return async (deployment, replica) => {
    const { launch, runtime } = deployment;
    if (launch.kind !== "stdio" || runtime === "MOCK" || replica.state.phase !== "READY") return 0;
    try {
      const asked = otherHosts.sessions(replica) ?? prober.countSessions(calleeOf(deployment, replica, sealer));
      return await asked;
    } catch {
      // It has just gone, or is too busy to say: there is nothing to count, and `health` tells of it.
      return 0;
    }
  };
}

const GOOD_FOR_MS = 5_000;
const ASKED_AT_ONCE = 8;

/** The sessions of all replicas that run, for a gauge: counted when it is read, some replicas at once, and good for a few seconds. */
export function createSessionTotal(options: {
  sessionsOf: SessionCounter;
  running: () => readonly DeploymentRecord[];
  now: () => number;
}): () => Promise<number> {
  const { sessionsOf, running, now } = options;
  let counted: { at: number; total: Promise<number> } | null = null;

  async function count(): Promise<number> {
    const replicas = running()
      .flatMap((record) => record.replicas.map((replica) => ({ ...record, replica })))
      .values();
    let total = 0;
    const ask = async (): Promise<void> => {
      // All take from the one iterator.
      for (const { deployment, replica } of replicas) total += await sessionsOf(deployment, replica);
    };
    await Promise.all(Array.from({ length: ASKED_AT_ONCE }, ask));
    return total;
  }

  return () => {
    if (!counted || now() - counted.at >= GOOD_FOR_MS) counted = { at: now(), total: count() };
    return counted.total;
  };
}
