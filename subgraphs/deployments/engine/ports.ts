import { ToolyardError } from "@toolyard/service-kit";
import { PortTakenError } from "../store/deployment-store.ts";

export interface PortRange {
  first: number;
  last: number;
}

/** Chooses ports of a host; the unique row that `use` writes is what reserves one. */
export interface PortAllocator {
  /**
   * Calls `use` with `count` ports that no replica holds and on which nothing listens. Free ports that were released
   * longest ago come first, so that a client with an old address does not reach another replica there.
   * @throws ToolyardError CAPACITY_EXHAUSTED when there are too few; `use` was then not called, or its work was undone.
   */
  reserve<Result>(count: number, use: (ports: number[]) => Promise<Result>): Promise<Result>;
  isFree(port: number): Promise<boolean>;
  released(port: number): void;
}

const ATTEMPTS = 5;
const RETRY_AFTER_SECONDS = 30;

export function createPortAllocator(options: {
  hostId: string;
  range: PortRange;
  /** Where replicas listen. */
  address: string;
  portsInUse: () => Promise<Set<number>>;
  isPortFree: (address: string, port: number) => Promise<boolean>;
}): PortAllocator {
  const { hostId, range, address, portsInUse, isPortFree } = options;
  /** Ports chosen but not yet written. */
  const held = new Set<number>();
  /** When a port was released, as the count of releases so far. */
  const releasedAt = new Map<number, number>();
  let releases = 0;
  /** Ports believed free, in the order of use; null before the rows were read, and when they disagree. */
  let free: Set<number> | null = null;
  let reading: Promise<Set<number>> | null = null;

  async function readFree(): Promise<Set<number>> {
    const used = await portsInUse();
    const candidates: number[] = [];
    for (let port = range.first; port <= range.last; port += 1)
      if (!used.has(port) && !held.has(port)) candidates.push(port);
    candidates.sort((a, b) => (releasedAt.get(a) ?? 0) - (releasedAt.get(b) ?? 0) || a - b);
    return new Set(candidates);
  }

  async function freePorts(): Promise<Set<number>> {
    if (free) return free;
    reading ??= readFree().finally(() => {
      reading = null;
    });
    return (free = await reading);
  }

  /** Takes `count` ports, or fewer if there are no more. */
  async function take(count: number): Promise<number[]> {
    const candidates = await freePorts();
    const chosen: number[] = [];
    const strangers: number[] = [];
    for (const port of candidates) {
      if (chosen.length === count) break;
      candidates.delete(port);
      held.add(port);
      if (await isPortFree(address, port)) chosen.push(port);
      else strangers.push(port);
    }
    giveBack(strangers);
    return chosen;
  }

  function giveBack(ports: readonly number[]): void {
    for (const port of ports) {
      held.delete(port);
      free?.add(port);
    }
  }

  async function choose(count: number): Promise<number[]> {
    const chosen = await take(count);
    if (chosen.length === count) return chosen;
    // Rows may have released ports without a report.
    giveBack(chosen);
    free = null;
    return take(count);
  }

  return {
    async reserve(count, use) {
      if (count === 0) return use([]);
      for (let attempt = 1; ; attempt += 1) {
        const ports = await choose(count);
        try {
          if (ports.length < count) throw exhausted(range, count);
          const result = await use(ports);
          for (const port of ports) held.delete(port);
          return result;
        } catch (error) {
          giveBack(ports);
          if (!(error instanceof PortTakenError) || error.hostId !== hostId) throw error;
          free = null;
          if (attempt === ATTEMPTS) throw exhausted(range, count);
        }
      }
    },
    isFree: (port) => isPortFree(address, port),
    released(port) {
      releasedAt.set(port, ++releases);
      free?.delete(port);
      free?.add(port);
    },
  };
}

function exhausted({ first, last }: PortRange, count: number): ToolyardError {
  const wanted = count === 1 ? "a port" : `${count} ports`;
  return new ToolyardError(
    "CAPACITY_EXHAUSTED",
    `There is no room for ${wanted} between ${first} and ${last}. Stop a deployment, ask for fewer replicas, or widen MCP_PORT_RANGE.`,
    { retryAfterSeconds: RETRY_AFTER_SECONDS },
  );
}
