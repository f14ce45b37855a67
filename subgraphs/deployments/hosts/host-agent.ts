import { readFileSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import type { JobLease, JobLeases } from "@toolyard/scheduler";
import { newId, systemCodeOf, ToolyardError, type Logger } from "@toolyard/service-kit";
import { createOutageLog, type Transaction } from "@toolyard/storage";
import { contactAt, isGone, isHeld, whyGone, type Contact, type Host, type HostOffer } from "./host.ts";
import type { HostLease, HostStore } from "./host-store.ts";

/**
 * This process as the one that acts for its host, and perhaps as the leader of all of them. It renews its leases when it is told to, and
 * is no longer sure of them between: every transaction of its work begins with `enter` or `lead`.
 */
export interface HostAgent {
  readonly hostId: string;
  /** Begins a transaction of the agent. @throws LeaseLostError */
  enter(tx: Transaction): Promise<void>;
  /** Begins a transaction of the leader. @throws LeaseLostError */
  lead(tx: Transaction): Promise<void>;
  /** Renews what is due: answers whether it is the agent. Never throws. */
  beat(): Promise<boolean>;
  isLeader(): boolean;
  /** For the leader: why the replicas of a host are to run elsewhere; null while they are not. */
  whyGone(hostId: string): string | null;
  /** For the leader: hosts that were there when it last looked. */
  known(): Host[];
  /** Hosts whose agents hold their leases now, by id. */
  living(): Promise<Host[]>;
  /** All, and whether their agents hold their leases. */
  all(): Promise<(Host & { isLiving: boolean })[]>;
  /** Others can take its place. With `giveUp` the host's replicas are moved at once. */
  close(options: { giveUp: boolean }): Promise<void>;
}

/** Somebody else may act by now: nothing was written. */
export class LeaseLostError extends ToolyardError {
  constructor(what: string) {
    super("UPSTREAM_UNAVAILABLE", `${what}: nothing was written. Try again.`);
    this.name = "LeaseLostError";
  }
}

/** Of each row in the store that is one for all hosts. */
const LEADER = "deployments-leader";
const LOOK_AGAIN_MS = 500;

/**
 * @param options.leaseMs How long a host is waited for that is not heard from.
 * @param options.owner As of `Host`.
 * @throws ToolyardError CONFLICT where another process is this host's agent, and renews its lease
 */
export async function joinHosts(options: {
  hosts: HostStore;
  leases: JobLeases;
  hostId: string;
  owner: string;
  offer: HostOffer;
  leaseMs: number;
  /** Of this process, for when to renew. */
  now: () => number;
  logger: Logger;
  signal?: AbortSignal | undefined;
}): Promise<HostAgent> {
  const { hosts, leases, hostId, owner, offer, leaseMs, now, logger, signal } = options;
  const runner = newId();
  let lease: HostLease | null = null;
  let leadership: JobLease | null = null;
  let leadsUntil = 0;
  let contact: Contact | null = null;
  let known: ReadonlyMap<string, Host> = new Map();
  let renewedAt = -Infinity;
  let beating: Promise<void> | null = null;
  const outages = createOutageLog({ what: "renewing the host's lease", fields: { host: hostId }, logger });

  const join = (at: number) => hosts.join({ id: hostId, owner, offer }, { now: at, leaseMs });

  async function first(): Promise<HostLease> {
    for (let seen: number | null = null; ;) {
      const at = await hosts.now();
      const joined = await join(at);
      if ("token" in joined) return joined;
      if (seen !== null && joined.heldUntil > seen) throw taken(hostId);
      if (seen === null)
        logger.warn(
          { host: hostId, seconds: Math.ceil((joined.heldUntil - at) / 1_000) },
          "waiting for the host's lease",
        );
      seen = joined.heldUntil;
      await delay(LOOK_AGAIN_MS, undefined, { ...(signal && { signal }) });
    }
  }

  async function renew(): Promise<void> {
    const at = await hosts.now();
    contact = contactAt(at, contact, leaseMs);
    if (lease && !(await hosts.renew(lease, { now: at, leaseMs }, (tx) => goOnLeading(tx, at + leaseMs)))) {
      lease = null;
      logger.warn({ host: hostId }, "this host was given up, since it was not heard from; it begins anew");
    }
    if (!lease) {
      const joined = await join(at);
      if (!("token" in joined)) throw taken(hostId);
      lease = joined;
    }
    if (!leadership) await stand(at);
    if (leadership) await lookAround(leadership, contact);
    renewedAt = now();
  }

  async function goOnLeading(tx: Transaction, until: number): Promise<void> {
    if (!leadership) return;
    if (await leases.renew(tx, leadership, until)) {
      leadsUntil = until;
      return;
    }
    leadership = null;
    logger.warn({ host: hostId }, "another host leads by now");
  }

  /** Leads, if nobody else does. */
  async function stand(at: number): Promise<void> {
    await leases.stateOf(LEADER, at);
    leadership = await leases.take(LEADER, { runner, now: at, leaseMs, unlessRunSince: at });
    leadsUntil = at + leaseMs;
    if (leadership) logger.info({ host: hostId }, "this host leads: it places replicas");
  }

  async function lookAround(as: JobLease, during: Contact): Promise<void> {
    let all = await hosts.all();
    const gone = all.filter((host) => host.id !== hostId && host.leaseUntil !== 0 && isGone(host, during, leaseMs));
    for (const host of gone)
      if (await hosts.giveUp(host, (tx) => guard(tx, as)))
        logger.warn({ host: host.id }, `${whyGone(host)} Its replicas are moved.`);
    if (gone.length > 0) all = await hosts.all();
    known = new Map(all.map((host) => [host.id, host]));
  }

  async function guard(tx: Transaction, as: JobLease): Promise<void> {
    if (!(await leases.renew(tx, as, leadsUntil))) throw new LeaseLostError("Another host leads by now");
  }

  async function attempt(): Promise<void> {
    try {
      await renew();
      outages.works();
    } catch (error) {
      contact = null;
      outages.failed(error);
    }
  }

  async function all(): Promise<(Host & { isLiving: boolean })[]> {
    const [at, found] = [await hosts.now(), await hosts.all()];
    return found.map((host) => ({ ...host, isLiving: isHeld(host, at, leaseMs) }));
  }

  lease = await first();
  await attempt();

  return {
    hostId,
    async enter(tx) {
      if (!lease || !(await hosts.hold(tx, lease)))
        throw new LeaseLostError("This host was given up, since it was not heard from");
    },
    async lead(tx) {
      if (!leadership) throw new LeaseLostError("This host does not lead");
      await guard(tx, leadership);
    },
    async beat() {
      const age = now() - renewedAt;
      // A clock that was set back is no reason to wait.
      if (age < 0 || age >= leaseMs / 4)
        await (beating ??= attempt().finally(() => {
          beating = null;
        }));
      return lease !== null;
    },
    isLeader: () => leadership !== null,
    whyGone(id) {
      if (id === hostId || !leadership || !contact) return null;
      const host = known.get(id);
      return host && isGone(host, contact, leaseMs) ? whyGone(host) : null;
    },
    known: () => [...known.values()].filter((host) => contact && isHeld(host, contact.now, leaseMs)),
    all,
    living: async () => (await all()).filter(({ isLiving }) => isLiving),
    async close({ giveUp }) {
      await beating;
      if (leadership) await leases.end(leadership, null);
      leadership = null;
      if (lease) await hosts.leave(lease, { giveUp });
      lease = null;
    },
  };
}

function taken(hostId: string): ToolyardError {
  return new ToolyardError(
    "CONFLICT",
    `Another process runs the deployments of the host ${hostId}. Stop that one, or give this one a HOST_ID (and a DATA_DIR) of its own. ` +
      "On a machine whose disk is a copy of the other's, removing DATA_DIR/host-id does it, too.",
  );
}

/** Which DATA_DIR of which running system: a process that has it locked knows that no other is. A copy of the disk has all of it but the boot. */
export function ownerOf(dataDir: string, bootId = readBootId()): string {
  const { dev, ino, birthtimeNs } = statSync(dataDir, { bigint: true });
  return `${bootId} ${dev}/${ino}/${birthtimeNs}`;
}

/** Of this boot of this machine, whichever container asks; its name where it has no /proc. */
function readBootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
  } catch (error) {
    if (systemCodeOf(error) === null) throw error;
    return hostname();
  }
}
