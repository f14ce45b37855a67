import { badInput, type Caller } from "@toolyard/service-kit";

/** What a proxy tells of its calls of one deployment that is scaled by load. */
export interface DeploymentLoad {
  deploymentId: string;
  /** Concurrent calls, on average since it told of them last; or those that are there now, while some wait for a replica. */
  calls: number;
  /** Replicas that had calls or streams since then. */
  replicaIds: readonly string[];
}

/** The load of the deployments that are scaled by it, as all proxies tell. */
export interface Load {
  /** Takes the place of what this proxy told before. @throws ToolyardError FORBIDDEN for others than proxies, BAD_USER_INPUT for too much */
  note(caller: Caller, proxyId: string, loads: readonly DeploymentLoad[]): void;
  /** For another host, which was told it. */
  noteHere(caller: Caller, proxyId: string, loads: readonly DeploymentLoad[]): void;
  /** Concurrent calls, through all proxies. */
  callsOf(deploymentId: string): number;
  /** When it had a call or a stream last, as far as is known: at the earliest when this process began. */
  lastUsedAt(replicaId: string): number;
}

/** A proxy with calls tells of them each second. */
const GOOD_FOR_MS = 5_000;
const MOST_DEPLOYMENTS = 5_000;
const MOST_REPLICAS = 20_000;

export function createLoad(options: {
  now: () => number;
  /** Tells the other hosts. */
  tellOthers: (proxyId: string, loads: readonly DeploymentLoad[]) => void;
  /** Something of this deployment's load was told. */
  onLoad: (deploymentId: string) => void;
}): Load {
  const { now, tellOthers, onLoad } = options;
  const began = now();
  const proxies = new Map<string, { until: number; calls: Map<string, number> }>();
  /** By replica, the one that was told longest ago first. */
  const used = new Map<string, number>();

  function keep(proxyId: string, loads: readonly DeploymentLoad[]): void {
    const replicas = loads.flatMap(({ replicaIds }) => replicaIds);
    if (loads.length > MOST_DEPLOYMENTS || replicas.length > MOST_REPLICAS)
      throw badInput([
        { path: "loads", message: `must be ${MOST_DEPLOYMENTS} at most, with ${MOST_REPLICAS} replicas` },
      ]);
    const at = now();
    const before = proxies.get(proxyId)?.calls;
    for (const [id, { until }] of proxies) if (until <= at) proxies.delete(id);
    const calls = new Map(loads.map((load) => [load.deploymentId, Math.max(0, load.calls)]));
    if (calls.size > 0) proxies.set(proxyId, { until: at + GOOD_FOR_MS, calls });
    else proxies.delete(proxyId);
    for (const id of replicas) {
      used.delete(id);
      used.set(id, at);
    }
    for (const id of used.keys()) {
      if (used.size <= MOST_REPLICAS) break;
      used.delete(id);
    }
    for (const id of new Set([...calls.keys(), ...(before?.keys() ?? [])])) onLoad(id);
  }

  return {
    note(caller, proxyId, loads) {
      caller.require("internal:usage");
      keep(proxyId, loads);
      tellOthers(proxyId, loads);
    },
    noteHere(caller, proxyId, loads) {
      caller.require("internal:hosts");
      keep(proxyId, loads);
    },
    callsOf(deploymentId) {
      let sum = 0;
      for (const { until, calls } of proxies.values()) if (until > now()) sum += calls.get(deploymentId) ?? 0;
      return sum;
    },
    lastUsedAt: (replicaId) => used.get(replicaId) ?? began,
  };
}
