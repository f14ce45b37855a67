import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { systemCodeOf } from "@toolyard/service-kit/errors/errors.ts";
import { isWithin } from "./paths.ts";
import type { Allowance } from "../resources.ts";

/**
 * A control group for each replica, where this host lets Toolyard make some: the kernel keeps every process of a replica in
 * its group, whatever it forks, calls itself or has in its environment. `man 7 cgroups`.
 */
export interface Cgroups {
  /** Whether the kernel holds replicas to the CPUs that their launches name. */
  limitsCpus: boolean;
  /** Makes a replica's group; its folders, or none where that cannot be. */
  create(name: string, allowance: Allowance): string[];
  /** Folders that `create` would make for that name, where they are there. */
  find(name: string): string[];
  /** Names of all groups that are there. */
  names(): string[];
  /**
   * Moves a process in, with what it forks from then on.
   * @throws the system's error
   */
  enter(folders: readonly string[], pid: number): void;
  /** Its processes, whatever they did to the groups below it; null when there is no such group. */
  members(folders: readonly string[]): number[] | null;
  /** Whether the kernel ended one of its processes for want of memory. */
  ranOutOfMemory(folders: readonly string[]): boolean;
  /** Files in which the kernel counts that, of the group that `create` makes for that name; each is there only where that version is. */
  memoryKillCounts(name: string): string[];
  /** SIGKILL to all in it, at once where the kernel can. */
  kill(folders: readonly string[]): void;
  /** Removes a group in which nothing runs any more. Whether it is gone: the kernel may hold one for moments yet. */
  remove(folders: readonly string[]): boolean;
}

/** Where this host has none to give. */
export const noCgroups: Cgroups = {
  limitsCpus: false,
  create: () => [],
  find: () => [],
  names: () => [],
  enter: () => undefined,
  members: () => null,
  ranOutOfMemory: () => false,
  memoryKillCounts: () => [],
  kill: () => undefined,
  remove: () => true,
};

/** Error codes for a group that is gone, or whose last process has not ended yet (EBUSY). */
const GONE = new Set(["ENOENT", "ENODEV", "ENOTDIR"]);
const MIB = 1024 * 1024;
/** Above a replica's limit, so that Toolyard measures the use and reports the figure before the kernel ends the replica without one. */
const MEMORY_HEADROOM = 1.5;
/**
 * Below a replica's group, where its processes are: in namespaces of its own making a process is root of the group that it is in, and
 * may change the limits there, but not those above.
 */
const LEAF = "processes";
/** Groups that such a process may have made itself: Toolyard looks through this many. */
const MAX_SUBGROUPS = 64;
/** The kernel's default. */
const CPU_PERIOD_US = 100_000;
/** Files of version 2 and version 1. */
const KILL_COUNTS = ["memory.events", "memory.oom_control"];
const CPU_LIMIT = "cpu.max";
const OLD_CPU_LIMIT = "cpu.cfs_quota_us";
/** Those of version 2 that limit. */
const CONTROLLERS = ["cpu", "memory", "pids"];
/** systemd's name of a group that it has given to a service as a whole, with what is below it. */
const UNIT = /\.(?:service|scope)$/;

export function createCgroups(options: { ownerId: string }): Cgroups {
  const prefix = `toolyard-${options.ownerId}-`;
  const parents = ownGroups();
  const keeper = parents.find(({ kind }) => kind === "unified");
  if (keeper !== undefined) handOnLimits(keeper.folder);
  // Whether a process may be moved from there to below it, and be killed with its group (Linux 5.14).
  const usable = keeper !== undefined && hasBelow(keeper.folder, (probe) => isWritable(join(probe, "cgroup.kill")));
  const foldersOf = (name: string): string[] =>
    usable
      ? [keeper, ...parents.filter((parent) => parent !== keeper)].map(({ folder }) => join(folder, prefix + name))
      : [];
  /** Records lie where a replica that is not isolated can write: they may name Toolyard's own groups only. */
  const own = (folders: readonly string[]): string[] =>
    folders.filter(
      (folder) => basename(folder).startsWith(prefix) && parents.some(({ mount }) => isWithin(mount, folder)),
    );

  return {
    limitsCpus: usable && parents.some(({ folder }) => hasBelow(folder, hasCpuLimit)),
    create(name, { cpus, memoryMb, processes }) {
      const [first, ...others] = foldersOf(name);
      if (first === undefined || !attempt(() => mkdirSync(first, { recursive: true }))) return [];
      const made = [first, ...others.filter((folder) => attempt(() => mkdirSync(folder, { recursive: true })))];
      const memory = String(Math.ceil(memoryMb * MEMORY_HEADROOM) * MIB);
      for (const folder of made) {
        // Has version 1 count what is below, which old kernels do where told so first.
        setLimit(join(folder, "memory.use_hierarchy"), "1");
        mkdirSync(join(folder, LEAF), { recursive: true });
        setLimit(join(folder, "cgroup.max.descendants"), String(MAX_SUBGROUPS));
        // Each is there only where that controller is: version 2, version 1.
        setLimit(join(folder, "pids.max"), String(processes));
        setLimit(join(folder, "memory.max"), memory);
        setLimit(join(folder, "memory.limit_in_bytes"), memory);
        if (cpus === null) continue;
        const quota = String(Math.round(cpus * CPU_PERIOD_US));
        setLimit(join(folder, CPU_LIMIT), `${quota} ${CPU_PERIOD_US}`);
        setLimit(join(folder, OLD_CPU_LIMIT), quota);
      }
      return made;
    },
    find: (name) => foldersOf(name).filter((folder) => existsSync(folder)),
    names() {
      const entries = usable ? parents.flatMap(({ folder }) => readdirSync(folder)) : [];
      const names = entries.filter((entry) => entry.startsWith(prefix)).map((entry) => entry.slice(prefix.length));
      return [...new Set(names)];
    },
    enter(folders, pid) {
      for (const folder of own(folders)) writeFileSync(join(folder, LEAF, "cgroup.procs"), String(pid));
    },
    members(folders) {
      const [first] = own(folders);
      if (first === undefined) return null;
      const unreadable: string[] = [];
      const listed = membersBelow(first, unreadable);
      if (unreadable.length === 0) return listed;
      const mount = parents.find((parent) => parent.kind === "unified" && isWithin(parent.mount, first));
      return mount === undefined ? listed : processesIn(join(mount.root, relative(mount.mount, first)));
    },
    ranOutOfMemory: (folders) => own(folders).some(wasKilledIn),
    memoryKillCounts: (name) =>
      foldersOf(name).flatMap((folder) =>
        KILL_COUNTS.flatMap((file) => [join(folder, file), join(folder, LEAF, file)]),
      ),
    kill(folders) {
      const [first] = own(folders);
      if (first !== undefined) attempt(() => writeFileSync(join(first, "cgroup.kill"), "1", { flag: "r+" }));
    },
    remove(folders) {
      for (const folder of own(folders)) attempt(() => removeBelow(folder));
      return !own(folders).some((folder) => existsSync(folder));
    },
  };
}

interface OwnGroup {
  kind: "unified" | "pids" | "memory" | "cpu";
  mount: string;
  /** The group that is seen at `mount`. */
  root: string;
  folder: string;
}

/** The groups that this process is in: of version 2, and of version 1 those that limit. */
function ownGroups(): OwnGroup[] {
  const mounts = readOrEmpty("/proc/self/mountinfo");
  const places = [...readOrEmpty("/proc/self/cgroup").matchAll(/^\d+:([^:]*):(.*)$/gm)];
  return (["unified", "pids", "memory", "cpu"] as const).flatMap((kind) => {
    const path = places.find(([, controllers = ""]) =>
      kind === "unified" ? controllers === "" : controllers.split(",").includes(kind),
    )?.[2];
    // `man 5 proc`: id, parent, device, root, mount point, options, optional fields, "-", type, source, super options.
    for (const line of path === undefined ? [] : mounts.split("\n")) {
      const [before = "", after = ""] = line.split(" - ");
      const [, , , root = "/", mount = "", flags = ""] = before.split(" ");
      const [type, , superOptions = ""] = after.split(" ");
      const fits =
        kind === "unified" ? type === "cgroup2" : type === "cgroup" && superOptions.split(",").includes(kind);
      if (fits && path !== undefined && isWithin(root, path) && flags.split(",").includes("rw")) {
        const folder = join(mount, relative(root, path));
        // A group of version 2 that has processes hands no limits on: systemd's DelegateSubgroup has it have none.
        const isDelegated = kind === "unified" && UNIT.test(dirname(folder)) && isWritable(dirname(folder));
        return [{ kind, mount, root, folder: isDelegated ? dirname(folder) : folder }];
      }
    }
    return [];
  });
}

/**
 * In version 2 a group has the limits that the one above hands on. One that has processes itself cannot: it is left as it is, since with some of them
 * nothing could be moved below it any more ("domain invalid" in cgroups(7)).
 */
function handOnLimits(folder: string): void {
  if (readOrEmpty(join(folder, "cgroup.procs")) !== "") return;
  const there = readOrEmpty(join(folder, "cgroup.controllers")).trim().split(" ");
  const wanted = CONTROLLERS.filter((each) => there.includes(each)).map((each) => `+${each}`);
  if (wanted.length > 0) setLimit(join(folder, "cgroup.subtree_control"), wanted.join(" "));
}

function isWritable(path: string): boolean {
  return attempt(() => accessSync(path, constants.W_OK));
}

const hasCpuLimit = (folder: string): boolean =>
  [CPU_LIMIT, OLD_CPU_LIMIT].some((file) => isWritable(join(folder, file)));

/** Whether a group can be made below another, into which processes can be moved from there, and which is as it should be. */
function hasBelow(folder: string, isRight: (group: string) => boolean): boolean {
  const probe = join(folder, `toolyard-probe-${process.pid}`);
  if (!isWritable(join(folder, "cgroup.procs")) || !attempt(() => mkdirSync(probe))) return false;
  try {
    return isRight(probe);
  } finally {
    rmdirSync(probe);
  }
}

/**
 * Adds to `unreadable` what is there and does not tell: in namespaces of its own making a process may close the groups below its own, or make them
 * `threaded`, whose processes only the group above lists.
 */
function membersBelow(folder: string, unreadable: string[]): number[] | null {
  try {
    const text = readFileSync(join(folder, "cgroup.procs"), "utf8");
    const own = text.split("\n").filter(Boolean).map(Number);
    return [...own, ...subgroupsOf(folder).flatMap((below) => membersBelow(below, unreadable) ?? [])];
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === null) throw error;
    if (!GONE.has(code)) unreadable.push(folder);
    return null;
  }
}

/** Processes of a group of version 2 and all below it, by what the kernel says of each process of the host: nobody can change that. */
function processesIn(group: string): number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => {
      const [, path] = /^0::(.*)$/m.exec(pid > 0 ? readOrEmpty(`/proc/${pid}/cgroup`) : "") ?? [];
      return path !== undefined && isWithin(group, path);
    });
}

/** Version 1 counts a kill in the group of the process, version 2 in those above it as well. */
function wasKilledIn(folder: string): boolean {
  const counts = KILL_COUNTS.map((file) => readOrEmpty(join(folder, file)));
  let below: string[] = [];
  attempt(() => {
    below = subgroupsOf(folder);
  });
  return counts.some((text) => /^oom_kill [1-9]/m.test(text)) || below.some(wasKilledIn);
}

function subgroupsOf(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(folder, entry.name));
}

function removeBelow(folder: string): void {
  // It may have been closed, where Toolyard is not root.
  attempt(() => chmodSync(folder, 0o755));
  for (const below of subgroupsOf(folder)) removeBelow(below);
  rmdirSync(folder);
}

/** Whether it worked: where this host does not let Toolyard, it goes without. */
function attempt(work: () => void): boolean {
  try {
    work();
    return true;
  } catch (error) {
    if (systemCodeOf(error) === undefined) throw error;
    return false;
  }
}

function setLimit(file: string, value: string): void {
  attempt(() => writeFileSync(file, value, { flag: "r+" }));
}

function readOrEmpty(path: string): string {
  let text = "";
  attempt(() => {
    text = readFileSync(path, "utf8");
  });
  return text;
}
