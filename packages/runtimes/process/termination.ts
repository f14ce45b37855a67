import { setTimeout as delay } from "node:timers/promises";
import { systemCodeOf, ToolyardError } from "@toolyard/service-kit/errors.ts";
import type { MarkedProcess, ProcessTable } from "./process-table.ts";

/** What belongs to a replica: its mark, and its main process when it is known. */
export interface Target {
  name: string;
  replicaId: string;
  ownerId: string;
  main: { pid: number; startToken: string } | null;
}

export interface Terminator {
  /** The replica's processes that run now: its group, whatever carries its mark, and their descendants. */
  membersOf(target: Target): Promise<MarkedProcess[]>;
  /**
   * SIGTERM to all, SIGKILL to what is left at `deadline()` (epoch ms, asked again and again: it may move), and no return before all
   * are verified gone.
   * @throws ToolyardError TIMEOUT when something does not even go by SIGKILL.
   */
  terminate(target: Target, deadline: () => number): Promise<void>;
}

/** The sandbox's own processes: they end with what they hold, and the outer one at the first signal. */
const SANDBOX_PROGRAM = "bwrap";
const POLL_MS = 20;
/** Between two looks at the whole process table; in between only the processes that are known are looked at. */
const RESCAN_MS = 250;

export function createTerminator(options: {
  table: ProcessTable;
  now: () => number;
  /** How long after SIGKILL a process may still be there (the kernel may be busy with its input and output). */
  killTimeoutMs: number;
}): Terminator {
  const { table, now, killTimeoutMs } = options;

  const membersOf = async (target: Target): Promise<MarkedProcess[]> => {
    const all = await table.scan();
    const ownGroup = all.find((entry) => entry.pid === process.pid)?.groupId;
    const isOurs = ({ marks }: MarkedProcess): boolean =>
      marks?.replicaId === target.replicaId && marks.owner === target.ownerId;
    const groups = new Set(all.filter(isOurs).map((entry) => entry.groupId));
    const main = all.find((entry) => entry.pid === target.main?.pid);
    if (main !== undefined && main.startToken === target.main?.startToken) groups.add(main.groupId);
    const members = new Set(all.filter((entry) => isOurs(entry) || groups.has(entry.groupId)));
    // Children that left the group and emptied their environment are still children, at any depth.
    const pids = new Set([...members].map((entry) => entry.pid));
    for (let before = -1; before !== members.size;) {
      before = members.size;
      for (const entry of all) {
        if (!pids.has(entry.parentPid)) continue;
        members.add(entry);
        pids.add(entry.pid);
      }
    }
    return [...members].filter((entry) => entry.groupId !== ownGroup);
  };

  /** Of `processes`, those that still run and are still the same. */
  const remaining = (processes: MarkedProcess[]): MarkedProcess[] => {
    const found = table.find(processes.map((entry) => entry.pid));
    return processes.filter((entry) => found.get(entry.pid)?.startToken === entry.startToken);
  };

  /** The members that are found now, and those of before that still run: a dying process loses its marks before its ports. */
  const lookAgain = async (target: Target, before: MarkedProcess[]): Promise<MarkedProcess[]> => {
    const found = await membersOf(target);
    const pids = new Set(found.map((entry) => entry.pid));
    return [...found, ...remaining(before).filter((entry) => !pids.has(entry.pid))];
  };

  const terminate = async (target: Target, deadline: () => number): Promise<void> => {
    const inMainGroup = (entry: MarkedProcess): boolean => entry.groupId === target.main?.pid;
    const asked = new Set<number>();
    let members = await membersOf(target);
    let scannedAt = now();
    let mainAsked = false;
    while (members.length > 0 && now() < deadline()) {
      const main = members.filter((entry) => inMainGroup(entry) && entry.program !== SANDBOX_PROGRAM);
      // The main group first and alone: a bridge ends its own children better than we can. What that leaves comes next.
      if (main.length === 0) askToEnd(members, asked);
      else if (!mainAsked) askToEnd(members.filter(inMainGroup), asked);
      mainAsked ||= main.length > 0;
      await delay(Math.max(1, Math.min(POLL_MS, deadline() - now())));
      members = remaining(members);
      // Before anything could be asked a sandbox is still being set up.
      if (members.length === 0 || asked.size === 0 || now() - scannedAt >= RESCAN_MS) {
        members = await lookAgain(target, members);
        scannedAt = now();
      }
    }
    await kill(target, members);
  };

  /** SIGKILL until two looks in a row find nothing: what was being forked during one is there at the next. */
  const kill = async (target: Target, members: MarkedProcess[]): Promise<void> => {
    const giveUpAt = now() + killTimeoutMs;
    let known = members;
    for (let clean = 0; clean < 2;) {
      known = await lookAgain(target, known);
      if (known.length === 0) {
        clean++;
        continue;
      }
      clean = 0;
      if (now() > giveUpAt) {
        const pids = known.map((entry) => `${entry.pid} (${entry.program})`).join(", ");
        throw new ToolyardError(
          "TIMEOUT",
          `Processes of replica ${target.name} do not end, not even by SIGKILL: ${pids}.`,
        );
      }
      killGroupsOf(known);
      await delay(POLL_MS);
    }
  };

  return { membersOf, terminate };
}

/** SIGTERM to those of `processes` that were not asked before, by whole groups so that none slips through. */
function askToEnd(processes: MarkedProcess[], asked: Set<number>): void {
  // The sandbox's outer process would die of it at once and leave the inside to itself; it ends when the inside does.
  const sandboxed = new Set(
    processes.filter((entry) => entry.program === SANDBOX_PROGRAM).map((entry) => entry.groupId),
  );
  const fresh = processes.filter((entry) => entry.program !== SANDBOX_PROGRAM && !asked.has(entry.pid));
  const receivers = new Set(fresh.map((entry) => (sandboxed.has(entry.groupId) ? entry.pid : -entry.groupId)));
  for (const entry of fresh) asked.add(entry.pid);
  for (const receiver of receivers) send(receiver, "SIGTERM");
}

function killGroupsOf(processes: MarkedProcess[]): void {
  for (const group of new Set(processes.map((entry) => entry.groupId))) send(-group, "SIGKILL");
}

function send(pid: number, signal: "SIGTERM" | "SIGKILL"): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    // Gone in between, which is what is wanted.
    if (systemCodeOf(error) !== "ESRCH") throw error;
  }
}
