import { readdirSync, readFileSync } from "node:fs";

/** The machine's memory, and the limit of the bridge and its children. */
export interface Memory {
  /**
   * How many more children fit.
   * @param groups Process groups of the children that run: the others are taken to be like them
   */
  room(groups: readonly number[]): number;
  /** How many processes of this container the kernel has ended for want of memory; 0 where it does not tell. Left out: there are none. */
  kills?(): number;
}

export interface MemoryOptions {
  now: () => number;
  /** The limit for the bridge and all its children; null: the machine's memory. */
  limitBytes: number | null;
  /** The same of processes and threads. */
  limitTasks: number | null;
  /** Bytes that are free on the machine, or in the bridge's control group. */
  available?: () => number;
  /** Files in which the kernel counts its kills. @default the container's */
  killCounts?: readonly string[] | undefined;
}

/** A child's assumed size while none is known, and the reserve that stays free. */
const TYPICAL_BYTES = 32 * 1024 * 1024;
const TYPICAL_TASKS = 12;
const RESERVE_BYTES = 64 * 1024 * 1024;
/** Servers grow while they work. */
const USABLE_SHARE = 0.9;
/** A look takes system calls for each process of the machine: in between, children started since are estimated. */
const KEPT_MS = 1_000;
const PAGE_BYTES = 4_096;
/** Of the container's control group, which is seen as the root: version 2, version 1. Each is there only where that version is. */
const KILL_COUNTS = ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];

export function createMemory(options: MemoryOptions): Memory {
  const { now, limitBytes, limitTasks, available = () => process.availableMemory() } = options;
  const { killCounts = KILL_COUNTS } = options;
  let used: Usage = { bytes: 0, tasks: 0, ownBytes: 0, ownTasks: 0 };
  let looked = 0;
  let lookedAt = Number.NEGATIVE_INFINITY;

  return {
    room(groups) {
      if (Math.abs(now() - lookedAt) >= KEPT_MS) {
        used = usageOf(new Set(groups));
        looked = groups.length;
        lookedAt = now();
      }
      const bytes = Math.max(TYPICAL_BYTES, used.bytes / Math.max(1, looked));
      const tasks = Math.max(TYPICAL_TASKS, used.tasks / Math.max(1, looked));
      const fitting = Math.min(
        (available() - RESERVE_BYTES) / bytes,
        limitBytes === null ? Infinity : (limitBytes * USABLE_SHARE - used.ownBytes - used.bytes) / bytes,
        limitTasks === null ? Infinity : (limitTasks * USABLE_SHARE - used.ownTasks - used.tasks) / tasks,
      );
      // Children that ended meanwhile make room, too.
      return Math.max(0, Math.floor(fitting) + looked - groups.length);
    },
    kills: () => Math.max(0, ...killCounts.map(killsIn)),
  };
}

function killsIn(file: string): number {
  try {
    return Number(/^oom_kill (\d+)$/m.exec(readFileSync(file, "utf8"))?.[1] ?? 0);
  } catch {
    return 0; // It is not there, or not to be read.
  }
}

interface Usage {
  bytes: number;
  tasks: number;
  ownBytes: number;
  ownTasks: number;
}

/** The private memory of these groups' processes and this one. Nothing when the system does not tell. */
function usageOf(groups: ReadonlySet<number>): Usage {
  const usage: Usage = { bytes: 0, tasks: 0, ownBytes: 0, ownTasks: 0 };
  if (process.platform !== "linux") return usage;
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    try {
      const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1)?.split(" ") ?? [];
      const isOwn = pid === process.pid;
      if (!isOwn && !groups.has(Number(fields[2]))) continue;
      const [, resident = 0, shared = 0] = readFileSync(`/proc/${pid}/statm`, "latin1").split(" ").map(Number);
      const bytes = (resident - shared) * PAGE_BYTES;
      const tasks = Number(fields[17]);
      if (isOwn) Object.assign(usage, { ownBytes: bytes, ownTasks: tasks });
      else {
        usage.bytes += bytes;
        usage.tasks += tasks;
      }
    } catch {
      // It ended meanwhile, or is another user's.
    }
  }
  return usage;
}
