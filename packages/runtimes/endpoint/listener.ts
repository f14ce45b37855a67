import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync } from "node:fs";
import { systemCodeOf } from "@toolyard/service-kit/errors/errors.ts";

/**
 * Whose a listening TCP port is. A server that binds its port by itself may find a stranger there first, and the stranger would
 * get its calls: before anything is sent, every listener on the port must be a socket that one of the replica's processes holds.
 */
type ListenerOwner =
  /** All of them are the replica's. */
  | "OWN"
  /** One at least is not. */
  | "FOREIGN"
  /** Nothing listens. */
  | "NONE"
  /** This process cannot tell: no /proc, other namespaces or another host than the replica's, another user. */
  | "UNKNOWN";

export interface ListenerCheck {
  /** @param owner As `processOwner` made it. */
  ownerOf(port: number, owner: string): ListenerOwner;
}

/** What a replica's main process is called in its endpoint: where it is seen, which it is, and when it started. */
export function processOwner(main: { pid: number; startToken: string }): string {
  return `${namespaces()}/${main.pid}/${main.startToken}`;
}

/** A socket that was found to be the replica's stays so; one that was not is looked for again after this. */
const LOOK_AGAIN_MS = 1_000;
const MAX_REMEMBERED = 10_000;

export function createListenerCheck(options: { now?: () => number } = {}): ListenerCheck {
  const { now = () => performance.now() } = options;
  /** By owner and inode; the kernel gives a number again only after four billion others. */
  const known = new Map<string, { found: Exclude<ListenerOwner, "NONE">; at: number }>();

  return {
    ownerOf(port, owner) {
      const [where = "", pid = "", ...started] = owner.split("/");
      const inodes = where === namespaces() ? listenersOn(port) : null;
      if (inodes === null) return "UNKNOWN";
      if (inodes.length === 0) return "NONE";
      let verdict: ListenerOwner = "OWN";
      for (const inode of inodes) {
        const key = `${owner} ${inode}`;
        let entry = known.get(key);
        if (!entry || (entry.found !== "OWN" && now() - entry.at >= LOOK_AGAIN_MS)) {
          entry = { found: holderOf(inode, Number(pid), started.join("/")), at: now() };
          if (known.size >= MAX_REMEMBERED) known.clear();
          known.set(key, entry);
        }
        if (entry.found === "FOREIGN") return "FOREIGN";
        if (entry.found === "UNKNOWN") verdict = "UNKNOWN";
      }
      return verdict;
    },
  };
}

const GONE = new Set(["ENOENT", "ESRCH", "ENOTDIR"]);
const DENIED = new Set(["EACCES", "EPERM"]);

function read<Value>(what: () => Value): Value | "gone" | "denied" {
  try {
    return what();
  } catch (error) {
    const code = systemCodeOf(error) ?? "";
    if (GONE.has(code)) return "gone";
    if (DENIED.has(code)) return "denied";
    throw error;
  }
}

let namespacesHere: string | null = null;

/** Names this boot of this host, and the processes and the network that are seen here; "" where there is no /proc. */
function namespaces(): string {
  namespacesHere ??= ["/proc/self/ns/pid", "/proc/self/ns/net"]
    .map((path) => read(() => readlinkSync(path)))
    .concat(read(() => readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim()))
    .join(" ");
  return namespacesHere;
}

const LISTEN = "0A";
const CHUNK_BYTES = 64 * 1024;

/** Inodes of the sockets that listen on the port, whatever their address; null where that cannot be known. */
function listenersOn(port: number): string[] | null {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const inodes: string[] = [];
  let readable = false;
  for (const table of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    const rows = read(() => listeningRows(table));
    if (!Array.isArray(rows)) continue;
    readable = true;
    for (const { address, inode } of rows) if (address.endsWith(suffix)) inodes.push(inode);
  }
  return readable ? inodes : null;
}

/** The kernel lists sockets that listen before all others, of which there may be very many: those are not read. */
function listeningRows(table: string): { address: string; inode: string }[] {
  const rows: { address: string; inode: string }[] = [];
  const file = openSync(table, "r");
  try {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    let rest = "";
    for (let size = readSync(file, chunk); size > 0; size = readSync(file, chunk)) {
      const lines = (rest + chunk.toString("latin1", 0, size)).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const fields = line.trim().split(/\s+/);
        const [place = "", address = "", , state] = fields;
        if (place === "sl") continue;
        if (state !== LISTEN) return rows;
        rows.push({ address, inode: fields[9] ?? "" });
      }
    }
    return rows;
  } finally {
    closeSync(file);
  }
}

/** Whether a process of the replica holds the socket. */
function holderOf(inode: string, mainPid: number, startToken: string): "OWN" | "FOREIGN" | "UNKNOWN" {
  const link = `socket:[${inode}]`;
  let denied = false;
  for (const pid of processesOf(mainPid, startToken)) {
    const descriptors = read(() => readdirSync(`/proc/${pid}/fd`));
    if (descriptors === "denied") denied = true;
    if (!Array.isArray(descriptors)) continue;
    if (descriptors.some((descriptor) => read(() => readlinkSync(`/proc/${pid}/fd/${descriptor}`)) === link))
      return "OWN";
  }
  return denied ? "UNKNOWN" : "FOREIGN";
}

/** The main process, its descendants, and whoever is in its session, which nobody can join from outside. None when it is gone. */
function processesOf(mainPid: number, startToken: string): number[] {
  const parents = new Map<number, number[]>();
  const inSession: number[] = [];
  let isThere = false;
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const stat = read(() => readFileSync(`/proc/${name}/stat`, "latin1"));
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const pid = Number(name);
    const parent = Number(fields[1]);
    parents.set(parent, [...(parents.get(parent) ?? []), pid]);
    if (Number(fields[3]) === mainPid) inSession.push(pid);
    if (pid === mainPid) isThere = startToken.endsWith(`:${fields[19]}`);
  }
  if (!isThere) return [];
  const found = new Set([mainPid, ...inSession]);
  for (const pid of found) for (const child of parents.get(pid) ?? []) found.add(child);
  return [...found];
}
