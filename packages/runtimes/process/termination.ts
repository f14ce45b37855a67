import { setTimeout as delay } from "node:timers/promises";
import { systemCodeOf, ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import type { Cgroups } from "./cgroups.ts";
import type { ProcessEntry, ProcessTable } from "./process-table.ts";

/** The identification of a replica's processes. */
export interface Target {
  name: string;
  main: { pid: number; startToken: string } | null;
  /** The folders of its control group; empty where this host has none for it. */
  cgroups: readonly string[];
}

export interface Terminator {
  /**
   * The replica's processes that run now: all in its control group. Where it has none: the main process's group and session,
   * its descendants, and what was found to be one before.
   */
  membersOf(target: Target): Promise<ProcessEntry[]>;
  /**
   * SIGTERM to all, SIGKILL to what is left at `deadline()` (epoch ms, asked again and again: it may move), and no return before all
   * are verified gone.
   * @throws ToolyardError TIMEOUT when a process survives SIGKILL
   */
  terminate(target: Target, deadline: () => number): Promise<void>;
}

/** The sandbox's own processes: they end with their content, and the outer one at the first signal. */
const SANDBOX_PROGRAM = "bwrap";
const POLL_MS = 20;
/** Between two looks at the whole process table; in between only the processes that are known are looked at. */
const RESCAN_MS = 250;

export function createTerminator(options: {
  table: ProcessTable;
  cgroups: Cgroups;
  now: () => number;
  /** How long after SIGKILL a process may still be there (the kernel may be busy with its input and output). */
  killTimeoutMs: number;
}): Terminator {
  const { table, cgroups, now, killTimeoutMs } = options;
  /** Of replicas without a control group: processes that left their parent are recognized because they were seen before. */
  const seen = new Map<string, ProcessEntry[]>();

  const membersOf = async (target: Target): Promise<ProcessEntry[]> => {
    const inGroup = cgroups.members(target.cgroups);
    // This process must not be killed, even if somebody moved it into the group.
    if (inGroup !== null && !inGroup.includes(process.pid)) return [...table.find(inGroup).values()];
    const members = relativesOf(target, await table.scan());
    if (members.length > 0) seen.set(target.name, members);
    else seen.delete(target.name);
    return members;
  };

  const relativesOf = ({ name, main }: Target, all: ProcessEntry[]): ProcessEntry[] => {
    const known = new Map((seen.get(name) ?? []).map((entry) => [entry.pid, entry.startToken]));
    const leader = all.find((entry) => entry.pid === main?.pid);
    // Where somebody else has that pid by now, the group and the session of that number are theirs.
    const isFamily = leader === undefined || leader.startToken === main?.startToken;
    const pids = new Set<number>();
    for (let before = -1; before !== pids.size;) {
      before = pids.size;
      for (const { pid, startToken, parentPid, groupId, sessionId } of all) {
        const inFamily = main !== null && isFamily && (groupId === main.pid || sessionId === main.pid);
        if (inFamily || known.get(pid) === startToken || pids.has(parentPid)) pids.add(pid);
      }
    }
    return all.filter(({ pid }) => pids.has(pid));
  };

  /** Of `processes`, those that still run and are still the same. */
  const remaining = (processes: ProcessEntry[]): ProcessEntry[] => {
    const found = table.find(processes.map((entry) => entry.pid));
    return processes.filter((entry) => found.get(entry.pid)?.startToken === entry.startToken);
  };

  /** The members that are found now, and those of before that still run: a dying process leaves its group before its ports. */
  const lookAgain = async (target: Target, before: ProcessEntry[]): Promise<ProcessEntry[]> => {
    const found = await membersOf(target);
    const pids = new Set(found.map((entry) => entry.pid));
    return [...found, ...remaining(before).filter((entry) => !pids.has(entry.pid))];
  };

  const terminate = async (target: Target, deadline: () => number): Promise<void> => {
    const inMainGroup = (entry: ProcessEntry): boolean => entry.groupId === target.main?.pid;
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
    for (const giveUpAt = now() + killTimeoutMs; !cgroups.remove(target.cgroups) && now() < giveUpAt;)
      await delay(POLL_MS);
    seen.delete(target.name);
  };

  /** SIGKILL until two looks in a row find nothing: a process that is forked during one is seen at the next. */
  const kill = async (target: Target, members: ProcessEntry[]): Promise<void> => {
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
      if (!cgroups.members(target.cgroups)?.includes(process.pid)) cgroups.kill(target.cgroups);
      killGroupsOf(known);
      await delay(POLL_MS);
    }
  };

  return { membersOf, terminate };
}

/** SIGTERM to those of `processes` that were not asked before, by whole groups so that none slips through. */
function askToEnd(processes: ProcessEntry[], asked: Set<number>): void {
  // The sandbox's outer process would die of it at once and leave the inside to itself; it ends when the inside does.
  const sandboxed = new Set(
    processes.filter((entry) => entry.program === SANDBOX_PROGRAM).map((entry) => entry.groupId),
  );
  const fresh = processes.filter((entry) => entry.program !== SANDBOX_PROGRAM && !asked.has(entry.pid));
  const receivers = new Set(fresh.map((entry) => (sandboxed.has(entry.groupId) ? entry.pid : -entry.groupId)));
  for (const entry of fresh) asked.add(entry.pid);
  for (const receiver of receivers) send(receiver, "SIGTERM");
}

function killGroupsOf(processes: ProcessEntry[]): void {
  for (const group of new Set(processes.map((entry) => entry.groupId))) send(-group, "SIGKILL");
}

function send(pid: number, signal: "SIGTERM" | "SIGKILL"): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    // Gone in between, as desired.
    if (systemCodeOf(error) !== "ESRCH") throw error;
  }
}
