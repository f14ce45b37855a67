import { basename, dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { messageOf, ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import type { Logger } from "@toolyard/service-kit/process/log.ts";
import type { ReplicaSpec } from "../runtime.ts";
import { socketPathOf, unixUrl } from "../endpoint/socket-path.ts";
import { createCgroups, noCgroups, type Cgroups } from "./cgroups.ts";
import type { ProcessTable } from "./process-table.ts";
import { isHeld } from "./log-file.ts";
import { isWithin } from "./paths.ts";
import { createReplicaLog } from "./replica-log.ts";
import type { ReplicaLog } from "./replica-log.ts";
import type { ReplicaStorage } from "./replica-storage.ts";
import { createOveruse } from "./overuse.ts";
import { completeRemovals, removeTree } from "./tree-removal.ts";
import { oneStart } from "../one-start.ts";
import { allowanceOf } from "../resources.ts";
import { findOrphans } from "./orphans.ts";
import { createReplicaRecords, readRecords, wasSpawned } from "./replica-records.ts";
import type { ReplicaRecord, ReplicaRecords } from "./replica-records.ts";
import type { Target, Terminator } from "./termination.ts";

/** A replica that runs, or ran and was not forgotten. */
export interface Replica {
  record: ReplicaRecord;
  log: ReplicaLog;
  /** Resolves when this process was told of its exit; null for a replica of an earlier process, which nobody tells. */
  exited: Promise<void> | null;
  /** Its end is wanted: nobody is told of it. */
  stopping: boolean;
}

export interface ReplicaCatalog {
  records: ReplicaRecords;
  /** Resolves when the replicas of earlier processes are known. To be awaited before all other calls. */
  ready(): Promise<void>;
  get(name: string): Replica | undefined;
  isAlive(replica: Replica): boolean;
  /** Every replica that runs. */
  alive(): Replica[];
  /** How its processes are recognized. */
  targetOf(replica: Replica): Target;
  /**
   * A path is judged, then mounted: in between, who can write to a folder that it is in could make a link of it.
   * @throws ToolyardError BAD_USER_INPUT when a replica that runs can.
   */
  checkSteady(path: string): void;
  /** Removes package caches that are not used any more, and those of a user who filled them, once none of its replicas runs; `next` is then `add`ed. */
  makeRoom(next: ReplicaSpec): Promise<void>;
  /** About to be spawned; `url` is where it will answer. */
  add(spec: ReplicaSpec, start: Pick<ReplicaRecord, "writablePaths" | "url" | "logKey" | "createdAt">): Replica;
  spawned(replica: Replica, pid: number): void;
  /** Waits for the exit status of one of our own that is gone, for as long as that can take. */
  exitStatus(replica: Replica): Promise<void>;
  /** Notes the end, once; kills processes that are left; then tells the listeners. */
  ended(replica: Replica, exit: { exitCode: number | null; signal: string | null }): void;
  /** Forgets it and removes its folder. */
  remove(name: string): Promise<void>;
  /** Removes its socket and its temporary files, as far as possible; `remove` removes the rest. */
  removeTemporary(name: string): Promise<void>;
  onExit(listener: (replica: Replica) => void): () => void;
  close(): Promise<void>;
}

const UNSEEN_END = { exitCode: null, signal: null, detail: null };
/** In the log. One replica's is no reason not to start others. */
const LEFT_RUNNING = "processes that a replica left behind cannot be killed";
/** How long the exit status of a process that is gone may take to be told to us. */
const EXIT_STATUS_MS = 1_000;
/** Of the last line about it, in `detail`. */
const DETAIL_LENGTH = 300;
const LINES_FOR_DETAIL = 20;
/** Memory and processes are looked at once in so many polls: without control groups that is the whole process table. */
const POLLS_PER_USE_LOOK = 4;
/** After measuring the disk, in times of what that took. */
const MEASURING_REST = 10;

export function createReplicaCatalog(options: {
  root: string;
  ownerId: string;
  table: ProcessTable;
  cgroups: Cgroups;
  storage: ReplicaStorage;
  terminator: Terminator;
  /** Of replicas that another owner's control groups hold. */
  terminatorFor: (cgroups: Cgroups) => Terminator;
  log: Logger;
  pollIntervalMs: number;
  logMaxBytes: number;
  /** Ended replicas that nobody forgot are, after this, and package caches of deployments without any go. */
  keepEndedMs: number;
  now: () => number;
}): ReplicaCatalog {
  const { root, ownerId, table, cgroups, storage, terminator, terminatorFor, log, pollIntervalMs } = options;
  const { logMaxBytes, keepEndedMs, now } = options;
  const records = createReplicaRecords({ root });
  const replicas = new Map<string, Replica>();
  const listeners = new Set<(replica: Replica) => void>();
  const background = new Set<Promise<void>>();
  let readiness: Promise<void> | null = null;
  let timer: NodeJS.Timeout | null = null;
  let polls = 0;
  let closed = false;
  const overuse = createOveruse({ root, table, cgroups });
  let measuring = false;
  let restUntil = 0;
  /** Users whose package caches are to be emptied before their next start. */
  const overfull = new Set<string>();
  /** By user: their next starts wait for it. */
  const emptying = new Map<string, Promise<void>>();
  /** Replicas that ended, whose processes that are left are being killed. */
  const sweeping = new Set<Replica>();
  /** Replicas that are being killed for what they used, and why, as a clause that goes on from "it". */
  const punished = new WeakMap<Replica, string>();

  const orLogged = (what: string, name: string | undefined, work: () => Promise<void>): Promise<void> =>
    work().catch((error: unknown) => log.error({ replica: name, err: error }, what));

  const inBackground = (what: string, replica: Replica | null, work: () => Promise<void>): void => {
    const task = orLogged(what, replica?.record.name, work).finally(() => background.delete(task));
    background.add(task);
  };

  const replicaOf = (record: ReplicaRecord): Replica => {
    const { stdout, stderr } = records.pathsOf(record.name);
    const replicaLog = createReplicaLog({ stdout, stderr, key: record.logKey, maxBytes: logMaxBytes });
    return { record, log: replicaLog, exited: null, stopping: false };
  };

  const save = (replica: Replica, change: Partial<ReplicaRecord>): void => {
    replica.record = { ...replica.record, ...change };
    records.write(replica.record);
  };

  const targetOf = ({ record }: Replica): Target => {
    const { name, cgroups: folders } = record;
    return {
      name,
      main: wasSpawned(record) ? { pid: record.pid, startToken: record.startToken } : null,
      cgroups: folders,
    };
  };

  const sweep = async (replica: Replica): Promise<void> => {
    sweeping.add(replica);
    try {
      await terminator.terminate(targetOf(replica), () => 0);
      records.removeSocket(replica.record.name);
    } finally {
      sweeping.delete(replica);
    }
  };

  const running = (): Replica[] => [...replicas.values()].filter(({ record }) => wasSpawned(record) && !record.ended);

  const aliveOf = (candidates: Replica[]): Replica[] => {
    const found = table.find(candidates.flatMap(({ record }) => record.pid ?? []));
    return candidates.filter(({ record }) => found.get(record.pid ?? 0)?.startToken === record.startToken);
  };

  /** Whether a process may run, or is about to, that has the package caches of this user. */
  const usesCaches = (userId: string): boolean =>
    [...replicas.values()]
      .filter(({ record }) => record.userId === userId)
      .some((replica) => {
        const { record, stopping } = replica;
        if (stopping || sweeping.has(replica)) return true;
        return !record.ended && (!wasSpawned(record) || aliveOf([replica]).length > 0);
      });

  const exitStatus = async ({ exited }: Replica): Promise<void> => {
    if (exited) await Promise.race([exited, delay(EXIT_STATUS_MS, undefined, { ref: false })]);
  };

  const ended: ReplicaCatalog["ended"] = (replica, exit) => {
    // After `close` it is for the next process to find out: this one's DATA_DIR may be gone already.
    if (closed || replica.record.ended || replicas.get(replica.record.name) !== replica) return;
    replica.record = { ...replica.record, ended: { at: now(), ...exit, detail: null } };
    const { stopping } = replica;
    inBackground("the end of a replica was not handled completely", replica, async () => {
      try {
        noteKernelKill(replica);
        const excess = punished.get(replica);
        const why = excess === undefined ? {} : { why: `It ${excess}.` };
        save(replica, { ended: { at: now(), ...exit, detail: lastWords(replica.log), ...why } });
        // `stop` sweeps by itself.
        if (!stopping) await sweep(replica);
      } finally {
        if (!closed && !stopping) for (const listener of listeners) listener(replica);
      }
    });
  };

  /**
   * Of records that came here with a copy of another DATA_DIR the files are this one's, logs among them, the processes are not: unless their folder
   * is gone and nobody could ever end them, they are left alone.
   */
  const takeOver = async (copied: ReplicaRecord[]): Promise<void> => {
    for (const { target, ownerId: former } of await findOrphans({
      root,
      elsewhere: copied.filter(wasSpawned),
      table,
    })) {
      log.warn({ replica: target.name }, "a replica runs whose folder was removed; it is ended");
      const itsTerminator = terminatorFor(former === null ? noCgroups : createCgroups({ ownerId: former }));
      await orLogged(LEFT_RUNNING, target.name, () => itsTerminator.terminate(target, () => 0));
    }
    for (const record of copied) {
      const replica = replicaOf(record);
      // No process may be taken for it.
      const noProcess = { pid: null, startToken: null, startedAt: null, cgroups: [] };
      save(replica, { ...noProcess, ownerId, ended: record.ended ?? { at: now(), ...UNSEEN_END } });
      records.removeSocket(record.name);
      replicas.set(record.name, replica);
    }
  };

  const load = async (): Promise<void> => {
    inBackground("folders that an earlier process was removing cannot be removed", null, () =>
      completeRemovals([root, ...storage.parents()]),
    );
    /** Such as a newer Toolyard's, whose replicas are not lost. */
    const unreadable = new Set<string>();
    const all = readRecords(root, (path, error) => {
      unreadable.add(basename(dirname(path)));
      log.warn({ path, reason: messageOf(error) }, "a replica's record cannot be read; it is left alone");
    });
    await takeOver(all.filter((record) => record.ownerId !== ownerId));
    for (const record of all.filter((each) => each.ownerId === ownerId)) {
      // Its socket moved with DATA_DIR.
      const { socket } = records.pathsOf(record.name);
      const url = socketPathOf(record.url) === null ? record.url : unixUrl(socket);
      replicas.set(record.name, replicaOf({ ...record, url }));
    }
    const alive = new Set(aliveOf(running()));
    for (const [name, replica] of replicas) {
      const { record } = replica;
      const old = record.ended !== null && record.ended.at < now() - keepEndedMs;
      if ((!wasSpawned(record) && !record.ended) || old)
        await orLogged("a replica's folders cannot be removed", name, () => remove(name));
      else if (wasSpawned(record) && !alive.has(replica)) {
        inBackground(LEFT_RUNNING, replica, () => sweep(replica));
        // Not told to listeners: what ended before is for `inspect` to say.
        if (!record.ended) {
          save(replica, { ended: { at: now(), ...UNSEEN_END, detail: lastWords(replica.log) } });
        }
      }
    }
    // Groups are Toolyard's own making: one without a record is of a replica whose folder was lost.
    for (const name of cgroups.names().filter((each) => !replicas.has(each) && !unreadable.has(each))) {
      const target = { name, main: null, cgroups: cgroups.find(name) };
      await orLogged(LEFT_RUNNING, name, () => terminator.terminate(target, () => 0));
    }
    if (alive.size > 0) watch();
  };

  const poll = (): void => {
    polls++;
    const candidates = running();
    const alive = new Set(aliveOf(candidates));
    for (const replica of candidates) {
      try {
        const excess = overuse.ofOutput(replica, replica.log.observe(now()), now());
        if (excess !== null) punish(replica, excess);
      } catch (error) {
        if (isHeld(error)) punish(replica, "kept its log from being rotated");
        else log.warn({ replica: replica.record.name, reason: messageOf(error) }, "a replica's log cannot be kept");
      }
      if (alive.has(replica)) continue;
      // One of our own is told by its exit event, with its exit status, unless that went astray.
      inBackground("a replica's end cannot be noted", replica, async () => {
        await exitStatus(replica);
        ended(replica, { exitCode: null, signal: null });
      });
    }
    if (polls % POLLS_PER_USE_LOOK === 0) {
      for (const replica of alive) {
        inBackground("a replica's use of resources cannot be read", replica, async () => {
          const members = await terminator.membersOf(targetOf(replica));
          const pids = members.map((entry) => entry.pid);
          const excess = overuse.ofMemoryAlready(replica.record) ?? overuse.ofMemoryAndProcesses(replica.record, pids);
          if (excess !== null) punish(replica, excess);
        });
      }
    }
    if (!measuring && now() >= restUntil && overuse.isDiskDue(now())) void measureDisk([...alive]);
    if (candidates.length === 0 && timer) {
      clearInterval(timer);
      timer = null;
    }
  };

  /** `caches`: what was found of users' caches in this round. */
  const measureDiskOf = async (replica: Replica, caches: Map<string, string | null>): Promise<void> => {
    const { name, replicaId, userId } = replica.record;
    try {
      const pids = (await terminator.membersOf(targetOf(replica))).map((entry) => entry.pid);
      const folders = [records.pathsOf(name).folder, ...storage.ownFolders(replicaId)];
      let excess = await overuse.ofDisk(replica.record, folders, pids);
      if (excess === null) {
        excess = caches.get(userId) ?? null;
        if (!caches.has(userId)) excess = await overuse.ofCache(storage.cachesOf(userId));
        caches.set(userId, excess);
        if (excess !== null) overfull.add(userId);
      }
      if (excess !== null) punish(replica, excess);
    } catch (error) {
      log.warn({ replica: name, reason: messageOf(error) }, "the disk that a replica uses cannot be measured");
    }
  };

  /** One after the other: the disk is for other work, too. */
  const measureDisk = async (candidates: Replica[]): Promise<void> => {
    measuring = true;
    const began = now();
    const caches = new Map<string, string | null>();
    try {
      for (const replica of candidates) {
        if (!closed && !replica.record.ended) await measureDiskOf(replica, caches);
      }
    } finally {
      measuring = false;
      // However busy the disk is, most of the time nobody walks through folders.
      restUntil = now() + MEASURING_REST * (now() - began);
    }
  };

  const condemn = (replica: Replica, excess: string, by = "Toolyard"): void => {
    punished.set(replica, excess);
    log.warn({ replica: replica.record.name, excess }, "a replica used more than it may");
    replica.log.note(now(), `Killed by ${by}: it ${excess}.`);
  };

  /** One that grows faster than it is looked at, the kernel ends. */
  const noteKernelKill = (replica: Replica): void => {
    if (replica.stopping || punished.has(replica)) return;
    const excess = overuse.ofMemoryAlready(replica.record);
    if (excess !== null) condemn(replica, excess, "the system");
  };

  /** Kills a replica that uses more than it may: its exit is then told as any other, its last words say why. */
  const punish = (replica: Replica, excess: string): void => {
    if (replica.stopping || replica.record.ended || punished.has(replica)) return;
    condemn(replica, excess);
    inBackground("a replica that used too much cannot be killed", replica, () => sweep(replica));
  };

  const watch = (): void => {
    if (timer || closed) return;
    timer = setInterval(poll, pollIntervalMs);
    timer.unref();
  };

  const remove = async (name: string): Promise<void> => {
    const gone = replicas.get(name)?.record;
    replicas.delete(name);
    await records.remove(name);
    // Its lasting storage goes with the last of its records.
    const isKept = [...replicas.values()].some(({ record }) => record.replicaId === gone?.replicaId);
    if (gone && !isKept) await storage.remove(gone);
  };

  return {
    records,
    ready: () => (readiness ??= load()),
    get: (name) => replicas.get(name),
    isAlive: (replica) => wasSpawned(replica.record) && aliveOf([replica]).length > 0,
    alive: () => aliveOf(running()),
    targetOf,
    checkSteady(path) {
      for (const { record } of aliveOf(running())) {
        const folder = record.writablePaths.find((each) => each !== path && isWithin(each, path));
        if (folder === undefined) continue;
        throw new ToolyardError(
          "BAD_USER_INPUT",
          `The launch's path ${JSON.stringify(path)} cannot be used: it lies in ${folder}, to which another running ` +
            "replica may write. Name that folder itself.",
        );
      }
    },
    async makeRoom(next) {
      const { userId } = next;
      const present = [...replicas.values()].map(({ record }) => record);
      await storage.removeUnused([...present, next], { now: now(), before: now() - keepEndedMs });
      if (overfull.has(userId) && !usesCaches(userId)) {
        overfull.delete(userId);
        void oneStart(emptying, userId, () => removeTree(storage.cachesOf(userId)));
      }
      await emptying.get(userId);
    },
    add(spec, { writablePaths, url, logKey, createdAt }) {
      const { name, replicaId, deploymentId, userId, resources } = spec;
      const replica = replicaOf({
        version: 1,
        ownerId,
        name,
        replicaId,
        deploymentId,
        userId,
        writablePaths,
        url,
        logKey,
        createdAt,
        memoryMb: resources.memoryMb,
        processes: resources.processes,
        diskMb: resources.diskMb,
        cgroups: cgroups.create(name, allowanceOf(resources)),
        pid: null,
        startToken: null,
        startedAt: null,
        ended: null,
      });
      records.write(replica.record);
      replicas.set(name, replica);
      return replica;
    },
    spawned(replica, pid) {
      const entry = table.find([pid]).get(pid);
      const startedAt = entry?.startedAt ?? now();
      // Without an entry it has ended already; no other process may be taken for it.
      save(replica, { pid, startToken: entry?.startToken ?? `ended:${startedAt}`, startedAt });
      try {
        cgroups.enter(replica.record.cgroups, pid);
      } catch (error) {
        log.warn({ replica: replica.record.name, reason: messageOf(error) }, "a replica has no control group");
        cgroups.remove(replica.record.cgroups);
        save(replica, { cgroups: [] });
      }
      watch();
    },
    exitStatus,
    ended,
    remove,
    async removeTemporary(name) {
      try {
        records.removeSocket(name);
        await records.removeTemporary(name);
      } catch (error) {
        log.warn({ replica: name, reason: messageOf(error) }, "a replica's temporary files cannot be removed");
      }
    },
    onExit(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async close() {
      closed = true;
      if (timer) clearInterval(timer);
      timer = null;
      await Promise.all(background);
      // Of those whose end came too late to be dealt with.
      const alive = new Set(aliveOf(running()));
      for (const replica of replicas.values()) if (!alive.has(replica)) cgroups.remove(replica.record.cgroups);
    },
  };
}

/** The last line that Toolyard itself wrote. The replica's own output may hold secrets, and records lie on disk. */
function lastWords(log: ReplicaLog): string | null {
  const line = log.readLast(LINES_FOR_DETAIL).findLast(({ stream, text }) => stream === "SYSTEM" && text.trim() !== "");
  if (!line) return null;
  const text = line.text.trim();
  return text.length > DETAIL_LENGTH ? `${text.slice(0, DETAIL_LENGTH)}…` : text;
}
