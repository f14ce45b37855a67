import { execFile, execFileSync } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { setImmediate as yieldToEventLoop } from "node:timers/promises";
import { promisify } from "node:util";
import { systemCodeOf } from "@toolyard/service-kit/errors/errors.ts";

export interface ProcessEntry {
  pid: number;
  parentPid: number;
  groupId: number;
  sessionId: number;
  /** The name that the program goes by: of its file, or of its main thread where it gave that one. */
  program: string;
  /** Differs between two processes that had the same pid, also over a reboot. */
  startToken: string;
  /** Epoch milliseconds. */
  startedAt: number;
}

/** The processes of this host. Zombies count as gone. */
export interface ProcessTable {
  /** Those of `pids` that run. */
  find(pids: number[]): Map<number, ProcessEntry>;
  /** Every process. Costs milliseconds: not for a hot path. */
  scan(): Promise<ProcessEntry[]>;
  /** Memory of the processes, resident or swapped, without files of the disk, in bytes; null where this host does not tell. */
  memoryOf(pids: number[]): number | null;
}

/** The table of this host: /proc where there is one, else `ps`. */
export function createProcessTable(): ProcessTable {
  const bootId = readOrNull("/proc/sys/kernel/random/boot_id")?.trim();
  return bootId === undefined ? createPsProcessTable() : createProcfsProcessTable(bootId);
}

/** Error codes for reading files of a process that has just ended or is somebody else's. */
const GONE = new Set(["ENOENT", "ESRCH", "EACCES", "EPERM", "ENOTDIR"]);

function readOrNull(path: string): string | null {
  return unlessGone(() => readFileSync(path, "latin1"));
}

/** The result of `read`; null when the process is gone or somebody else's. */
export function unlessGone<Value>(read: () => Value): Value | null {
  try {
    return read();
  } catch (error) {
    if (GONE.has(systemCodeOf(error) ?? "")) return null;
    throw error;
  }
}

/** The kernel shows times in /proc in 1/100 s whatever its own tick (USER_HZ, `man 5 proc`). */
const TICK_MS = 10;
const SCAN_BATCH = 64;
const LITTLE_SHARED_BYTES = 16 * 1024 * 1024;

function kibIn(text: string, line: RegExp): number {
  return [...text.matchAll(line)].reduce((sum, [, kib]) => sum + Number(kib), 0);
}

/** Bytes that processes keep in files in memory (`man 2 memfd_create`), mapped or not. */
function memoryFilesOf(pids: number[]): number {
  const sizes = new Map<number, number>();
  for (const pid of pids) {
    const folder = `/proc/${pid}/fd`;
    for (const name of unlessGone(() => readdirSync(folder)) ?? []) {
      const path = `${folder}/${name}`;
      if (!unlessGone(() => readlinkSync(path))?.startsWith("/memfd:")) continue;
      const file = unlessGone(() => statSync(path));
      if (file) sizes.set(file.ino, file.blocks * 512);
    }
  }
  return [...sizes.values()].reduce((sum, size) => sum + size, 0);
}

function createProcfsProcessTable(bootId: string): ProcessTable {
  const bootTimeSeconds = Number(/^btime (\d+)$/m.exec(readOrNull("/proc/stat") ?? "")?.[1] ?? 0);

  /** Fields of /proc/<pid>/stat as `man 5 proc` numbers them; the program's name may hold blanks and brackets. */
  const entryOf = (pid: number): ProcessEntry | null => {
    const stat = readOrNull(`/proc/${pid}/stat`);
    if (stat === null) return null;
    const nameEnd = stat.lastIndexOf(")");
    const fields = stat.slice(nameEnd + 2).split(" ");
    const state = fields[0];
    if (state === undefined || state === "X") return null;
    // A zombie whose other threads are not through yet still holds its files and ports.
    if (state === "Z" && Number(fields[17]) <= 1) return null;
    const ticks = Number(fields[19]);
    return {
      pid,
      parentPid: Number(fields[1]),
      groupId: Number(fields[2]),
      sessionId: Number(fields[3]),
      program: stat.slice(stat.indexOf("(") + 1, nameEnd),
      startToken: `${bootId}:${ticks}`,
      startedAt: bootTimeSeconds * 1000 + ticks * TICK_MS,
    };
  };

  return {
    find(pids) {
      const found = new Map<number, ProcessEntry>();
      for (const pid of pids) {
        const entry = entryOf(pid);
        if (entry) found.set(pid, entry);
      }
      return found;
    },
    async scan() {
      const processes: ProcessEntry[] = [];
      let inBatch = 0;
      for (const name of readdirSync("/proc")) {
        if (!/^\d+$/.test(name)) continue;
        if (++inBatch % SCAN_BATCH === 0) await yieldToEventLoop();
        const entry = entryOf(Number(name));
        if (entry) processes.push(entry);
      }
      return processes;
    },
    memoryOf(pids) {
      let bytes = 0;
      let shared = 0;
      for (const pid of pids) {
        const status = readOrNull(`/proc/${pid}/status`) ?? "";
        bytes += kibIn(status, /^(?:RssAnon|VmSwap):\s+(\d+) kB$/gm) * 1024;
        const mapped = kibIn(status, /^RssShmem:\s+(\d+) kB$/gm) * 1024;
        // Its share of what it has together with others costs to ask for.
        const share = mapped > LITTLE_SHARED_BYTES ? readOrNull(`/proc/${pid}/smaps_rollup`) : null;
        shared += share === null ? mapped : kibIn(share, /^Pss_Shmem:\s+(\d+) kB$/gm) * 1024;
      }
      // Most that is kept in files of memory is mapped, too.
      return bytes + Math.max(shared, memoryFilesOf(pids));
    },
  };
}

const PS_TIMEOUT_MS = 5_000;
const PS_MAX_BYTES = 64 * 1024 * 1024;
const PS_COLUMNS = "pid=,ppid=,pgid=,stat=,lstart=,command=";
/** pid, ppid, pgid, state, `Mon Jan  1 00:00:00 2026`, command. */
const PS_LINE = /^\s*(\d+)\s+(\d+)\s+(\d+)\s+(\S+)\s+(\w{3}\s+\w{3}\s+\d+\s+[\d:]+\s+\d{4})\s*(.*)$/;

/**
 * The table as `ps` of macOS and the BSDs gives it. Start times have seconds only, which is enough against pid reuse:
 * pids are not given twice within one.
 */
export function createPsProcessTable(): ProcessTable {
  const parse = (output: string): ProcessEntry[] => {
    const processes: ProcessEntry[] = [];
    for (const line of output.split("\n")) {
      const [, pid, parentPid, groupId, state, started, command = ""] = PS_LINE.exec(line) ?? [];
      if (pid === undefined || started === undefined || state?.startsWith("Z")) continue;
      processes.push({
        pid: Number(pid),
        parentPid: Number(parentPid),
        groupId: Number(groupId),
        // BSD's ps shows no session by number. A replica's main process leads its group and its session alike.
        sessionId: Number(groupId),
        program: command.split(" ")[0]?.split("/").pop() ?? "",
        startToken: started.replaceAll(/\s+/g, " "),
        startedAt: Date.parse(started),
      });
    }
    return processes;
  };
  const environment = { PATH: "/usr/bin:/bin", LC_ALL: "C", TZ: "UTC" };
  return {
    find(pids) {
      if (pids.length === 0) return new Map();
      let output: string;
      try {
        output = execFileSync("ps", ["-p", pids.join(","), "-o", PS_COLUMNS], {
          encoding: "utf8",
          env: environment,
          timeout: PS_TIMEOUT_MS,
          stdio: ["ignore", "pipe", "ignore"],
        });
      } catch (error) {
        // `ps` exits 1 when none of the pids runs.
        if (error instanceof Error && "status" in error && error.status === 1) return new Map();
        throw error;
      }
      return new Map(parse(output).map((entry) => [entry.pid, entry]));
    },
    async scan() {
      const { stdout } = await promisify(execFile)("ps", ["-A", "-ww", "-o", PS_COLUMNS], {
        encoding: "utf8",
        env: environment,
        timeout: PS_TIMEOUT_MS,
        maxBuffer: PS_MAX_BYTES,
      });
      return parse(stdout);
    },
    memoryOf: () => null,
  };
}
