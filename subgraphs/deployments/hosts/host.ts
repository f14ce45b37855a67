import type { LaunchKind, LaunchOptions } from "@toolyard/launch/launch.ts";
import type { Runtime, RuntimeCapabilities, RuntimeKind } from "@toolyard/runtimes/runtime.ts";
import { isLeaseHeld } from "@toolyard/scheduler";
import type { PortRange } from "../engine/ports.ts";

/** A runtime of a host. */
export interface OfferedRuntime {
  kind: RuntimeKind;
  launches: LaunchKind[];
  /** Those of them that take a port of the host's range. */
  needPort: LaunchKind[];
  maxReplicas: RuntimeCapabilities["maxReplicas"];
  /** Whether it holds replicas to their launch's `egress`. Not said by hosts of an earlier version. */
  egress?: boolean;
}

/** What a host says of itself. */
export interface HostOffer {
  /** Where its replicas listen and are reached. */
  address: string;
  /** Where its deployments subgraph is asked over HTTP; null where it is one process with the gateway. */
  url: string | null;
  portRange: PortRange;
  runtimes: OfferedRuntime[];
}

/** A host, and which process is its agent: the only one that starts, probes and stops its replicas. Times are by the store's clock. */
export interface Host {
  id: string;
  /** Rises each time that a process becomes the agent, and when the host is given up: of two agents, the one with the lower token is the late one. */
  token: number;
  /** Which DATA_DIR, on which machine: as only one process has it, the next of the same need not wait for the lease. "" once it has ended in order. */
  owner: string;
  heardAt: number;
  /** 0 once it was given up, or stopped with its replicas. */
  leaseUntil: number;
  offer: HostOffer;
}

export function offerOf(
  host: Pick<HostOffer, "address" | "url" | "portRange">,
  runtimes: Iterable<Pick<Runtime, "kind" | "capabilities" | "needsPort">>,
): HostOffer {
  return {
    ...host,
    runtimes: [...runtimes].map((runtime) => {
      const { launches, maxReplicas, egress } = runtime.capabilities;
      return {
        kind: runtime.kind,
        launches,
        maxReplicas,
        egress,
        needPort: launches.filter((launch) => runtime.needsPort(launch, host.address)),
      };
    }),
  };
}

/** What is said of a runtime that does not. */
export const CANNOT_KEEP_EGRESS =
  "cannot hold a server to the hosts of its launch's egress list here: docker can, with MCP_RUNNER_IMAGE, and kubernetes, with that and MCP_NETWORK_POLICY_ENFORCED=true.";

/** Whether a runtime holds replicas to the hosts that their launch names, where it names some. */
export function keepsEgress(
  { egress = false }: { egress?: boolean },
  { options }: { options: Pick<LaunchOptions, "egress"> },
): boolean {
  return options.egress === null || egress;
}

/** Whether an agent holds the host at `now`. */
export function isHeld({ leaseUntil }: Pick<Host, "leaseUntil">, now: number, leaseMs: number): boolean {
  return isLeaseHeld(leaseUntil, now, leaseMs);
}

/** How long this process has been in touch with the store without a break, and what time it is there. */
export interface Contact {
  since: number;
  now: number;
}

/**
 * Goes on with a contact. A gap, or a clock that was set, begins a new one: other hosts could not renew their leases either while the store was
 * away, so that nothing follows from leases that ended meanwhile.
 */
export function contactAt(now: number, last: Contact | null, leaseMs: number): Contact {
  const isUnbroken = last !== null && now >= last.now && now - last.now <= leaseMs / 2;
  return { since: isUnbroken ? last.since : now, now };
}

/** Whether a host's replicas are to run elsewhere. */
export function isGone(host: Pick<Host, "leaseUntil">, { since, now }: Contact, leaseMs: number): boolean {
  return host.leaseUntil === 0 || (!isHeld(host, now, leaseMs) && now - since >= leaseMs);
}

/** Why a host's replicas are moved, in a sentence. */
export function whyGone({ id, owner, heardAt }: Pick<Host, "id" | "owner" | "heardAt">): string {
  if (owner === "") return `Host ${id} was stopped.`;
  return `Host ${id} was not heard from since ${new Date(heardAt).toISOString()}.`;
}
