import type { LaunchKind } from "@toolyard/launch/launch.ts";
import { ToolyardError } from "@toolyard/service-kit";
import type { Deployment, Replica } from "../deployment.ts";
import { createPortAllocator, type PortAllocator } from "../engine/ports.ts";
import type { DeploymentStore } from "../store/deployment-store.ts";
import type { HostAgent } from "./host-agent.ts";
import { keepsEgress, type Host, type HostOffer } from "./host.ts";

/** Where a replica is to run. */
export type Place = Pick<Replica, "hostId" | "address" | "port">;

type Placed = Pick<Deployment, "id" | "runtime" | "launch">;

/** A host on which replicas of a deployment could run. */
export interface Candidate {
  id: string;
  /** How many replicas of the deployment it has. */
  own: number;
  /** How many of all deployments. */
  all: number;
  /** How many more it can take. */
  room: number;
}

/**
 * Hosts for `count` replicas, fewer where there is no more room: one after the other goes to the host with the fewest of its deployment, of these
 * to the one with the fewest of all, and of these to the first.
 */
export function chooseHosts(count: number, candidates: readonly Candidate[]): string[] {
  const hosts = candidates.map((candidate) => ({ ...candidate }));
  const chosen: string[] = [];
  while (chosen.length < count) {
    const best = hosts
      .filter(({ room }) => room > 0)
      .reduce<Candidate | null>(
        (found, host) => (found && (found.own - host.own || found.all - host.all) <= 0 ? found : host),
        null,
      );
    if (!best) break;
    best.own += 1;
    best.all += 1;
    best.room -= 1;
    chosen.push(best.id);
  }
  return chosen;
}

/** Finds places for replicas among the hosts that are there. */
export interface Placement {
  /**
   * Calls `use` with `count` places; the unique row that it writes is what reserves a port.
   * @param options.except Ids of hosts on which there is none.
   * @throws ToolyardError CAPACITY_EXHAUSTED when there are too few; `use` was then not called, or its work was undone.
   */
  reserve<Result>(
    count: number,
    deployment: Placed,
    use: (places: Place[]) => Promise<Result>,
    options?: { except: readonly string[] },
  ): Promise<Result>;
}

const RETRY_AFTER_SECONDS = 30;

/** @param options.portsOf The ports of a host. */
export function createPlacement(options: {
  store: Pick<DeploymentStore, "portsInUse" | "replicaCounts" | "replicasOf">;
  agent: Pick<HostAgent, "hostId" | "living">;
  portsOf: (host: Host) => PortAllocator;
}): Placement {
  const { store, agent, portsOf } = options;

  async function candidatesFor(deployment: Placed, hosts: readonly Host[], takesPort: (host: Host) => boolean) {
    const counts = await store.replicaCounts(hosts.map(({ id }) => id));
    const own = Map.groupBy(await store.replicasOf([deployment.id]), ({ hostId }) => hostId);
    return Promise.all(
      hosts.map(async (host): Promise<Candidate> => {
        const { first, last } = host.offer.portRange;
        const room = takesPort(host) ? last - first + 1 - (await store.portsInUse(host.id)).size : Infinity;
        return { id: host.id, own: own.get(host.id)?.length ?? 0, all: counts.get(host.id) ?? 0, room };
      }),
    );
  }

  return {
    async reserve(count, deployment, use, { except } = { except: [] }) {
      if (count === 0) return use([]);
      const living = (await agent.living()).filter((host) => canRun(host, deployment) && !except.includes(host.id));
      // The nearest first.
      const hosts = living.toSorted((a, b) => Number(b.id === agent.hostId) - Number(a.id === agent.hostId));
      const takesPort = (host: Host) => needsPort(host, deployment);
      const [only] = hosts;
      // Where there is one host, its ports say best what is missing.
      const chosen =
        hosts.length === 1 && only
          ? Array.from({ length: count }, () => only.id)
          : chooseHosts(count, await candidatesFor(deployment, hosts, takesPort));
      if (chosen.length < count) throw noRoom(count, hosts.length);
      const byHost = hosts
        .map((host) => ({ host, count: chosen.filter((id) => id === host.id).length }))
        .filter((each) => each.count > 0);
      const next = async (index: number, places: Place[]): ReturnType<typeof use> => {
        const each = byHost[index];
        if (!each) return use(places);
        const { id: hostId, offer } = each.host;
        const placed = (ports: readonly number[]) =>
          Array.from({ length: each.count }, (_, n) => ({ hostId, address: offer.address, port: ports[n] ?? null }));
        if (!takesPort(each.host)) return next(index + 1, [...places, ...placed([])]);
        return portsOf(each.host).reserve(each.count, (ports) => next(index + 1, [...places, ...placed(ports)]));
      };
      return next(0, []);
    },
  };
}

/** Of each host its ports, kept in mind. Whether a stranger has one can be seen on the own host only; others look when they start a replica. */
export function createHostPorts(options: {
  store: Pick<DeploymentStore, "portsInUse">;
  hostId: string;
  isPortFree: (address: string, port: number) => Promise<boolean>;
}): (hostId: string, offer: Pick<HostOffer, "address" | "portRange">) => PortAllocator {
  const { store, hostId: own, isPortFree } = options;
  const known = new Map<string, PortAllocator>();
  return (hostId, { address, portRange: range }) => {
    // A host may come back with others.
    const key = JSON.stringify([hostId, address, range]);
    let ports = known.get(key);
    if (!ports) {
      ports = createPortAllocator({
        hostId,
        range,
        address,
        portsInUse: () => store.portsInUse(hostId),
        isPortFree: hostId === own ? isPortFree : async () => true,
      });
      known.set(key, ports);
    }
    return ports;
  };
}

export function canRun({ offer }: Host, { runtime, launch }: Placed): boolean {
  return offer.runtimes.some(
    (offered) => offered.kind === runtime && includes(offered.launches, launch.kind) && keepsEgress(offered, launch),
  );
}

/** Whether a replica of the deployment takes a port there. */
function needsPort(
  { offer }: Pick<Host, "offer">,
  { runtime, launch }: Pick<Deployment, "runtime" | "launch">,
): boolean {
  return offer.runtimes.some(({ kind, needPort }) => kind === runtime && includes(needPort, launch.kind));
}

const includes = (kinds: readonly LaunchKind[], kind: string): boolean => kinds.some((each) => each === kind);

function noRoom(count: number, hosts: number): ToolyardError {
  const wanted = count === 1 ? "a replica" : `${count} replicas`;
  return new ToolyardError(
    "CAPACITY_EXHAUSTED",
    hosts === 0
      ? "No host is there that could run it. Start one that has its runtime, or wait until it is back."
      : `No host has room for ${wanted}. Stop a deployment, ask for fewer replicas, or widen MCP_PORT_RANGE.`,
    { retryAfterSeconds: RETRY_AFTER_SECONDS },
  );
}
