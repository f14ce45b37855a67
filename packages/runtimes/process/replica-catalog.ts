import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "@toolyard/service-kit/errors.ts";
import type { Logger } from "@toolyard/service-kit/log.ts";
import type { ReplicaSpec } from "../runtime.ts";
import type { MarkedProcess, ProcessTable } from "./process-table.ts";
import { createReplicaLog } from "./replica-log.ts";
import type { ReplicaLog } from "./replica-log.ts";
import { createReplicaRecords, wasSpawned } from "./replica-records.ts";
import type { ReplicaRecord, ReplicaRecords } from "./replica-records.ts";
import type { Terminator } from "./termination.ts";

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
  /** Resolves when what earlier processes left is known. To be awaited before anything else here. */
  ready(): Promise<void>;
  get(name: string): Replica | undefined;
  isAlive(replica: Replica): boolean;
  /** Every replica that runs. From time to time looks for those without a record; not those that `isBusy`. */
  alive(isBusy: (name: string) => boolean): Promise<Replica[]>;
  /** About to be spawned; `url` is where it will answer. */
  add(spec: ReplicaSpec, url: string, createdAt: number): Replica;
  spawned(replica: Replica, pid: number): void;
  /** Waits for the exit status of one of our own that is gone, for as long as that can take. */
  exitStatus(replica: Replica): Promise<void>;
  /** Notes the end, once; kills what it left; then tells the listeners. */
  ended(replica: Replica, exit: { exitCode: number | null; signal: string | null }): void;
  /** Forgets it and removes its folder. */
  remove(name: string): Promise<void>;
  /** Removes its temporary files; what cannot be removed is left to `remove`. */
  removeTemporary(name: string): Promise<void>;
  onExit(listener: (replica: Replica) => void): () => void;
  close(): Promise<void>;
}

/** Ended replicas that nobody forgot are, after this. */
const KEEP_ENDED_MS = 7 * 24 * 60 * 60 * 1000;
/** How long the exit status of a process that is gone may take to be told to us. */
const EXIT_STATUS_MS = 1_000;
/** Of the last line about it, in `detail`. */
const DETAIL_LENGTH = 300;
const LINES_FOR_DETAIL = 20;
const MIB = 1024 * 1024;
/** Memory is looked at once in so many polls: it takes a look at the whole process table. */
const POLLS_PER_MEMORY_LOOK = 4;
const REPLICA_NAME = /^[a-z0-9-]{1,128}$/;

export function createReplicaCatalog(options: {
  root: string;
  ownerId: string;
  table: ProcessTable;
  terminator: Terminator;
  log: Logger;
  pollIntervalMs: number;
  scanIntervalMs: number;
  logMaxBytes: number;
  now: () => number;
}): ReplicaCatalog {
  const { root, ownerId, table, terminator, log, pollIntervalMs, scanIntervalMs, logMaxBytes, now } = options;
  const records = createReplicaRecords({
    root,
    ownerId,
    onUnreadable: (path, error) => log.warn({ path, reason: messageOf(error) }, "a replica's record cannot be read"),
  });
  const replicas = new Map<string, Replica>();
  const listeners = new Set<(replica: Replica) => void>();
  const background = new Set<Promise<void>>();
  let readiness: Promise<void> | null = null;
  let scannedAt = -Infinity;
  let timer: NodeJS.Timeout | null = null;
  let polls = 0;
  let closed = false;

  const inBackground = (what: string, replica: Replica, work: () => Promise<void>): void => {
    const task = work()
      .catch((error: unknown) => log.error({ replica: replica.record.name, err: error }, what))
      .finally(() => background.delete(task));
    background.add(task);
  };

  const replicaOf = (record: ReplicaRecord): Replica => {
    const { stdout, stderr } = records.pathsOf(record.name);
    const replicaLog = createReplicaLog({ stdout, stderr, maxBytes: logMaxBytes });
    return { record, log: replicaLog, exited: null, stopping: false };
  };

  const blank = (known: Pick<ReplicaRecord, "name" | "replicaId" | "deploymentId" | "createdAt">): ReplicaRecord => {
    return {
      ...known,
      version: 1,
      ownerId,
      url: "",
      memoryMb: null,
      pid: null,
      startToken: null,
      startedAt: null,
      ended: null,
    };
  };

  const save = (replica: Replica, change: Partial<ReplicaRecord>): void => {
    replica.record = { ...replica.record, ...change };
    records.write(replica.record);
  };

  const sweep = async ({ record }: Replica): Promise<void> => {
    const main = wasSpawned(record) ? { pid: record.pid, startToken: record.startToken } : null;
    await terminator.terminate({ name: record.name, replicaId: record.replicaId, ownerId, main }, () => 0);
  };

  const running = (): Replica[] => [...replicas.values()].filter(({ record }) => wasSpawned(record) && !record.ended);

  const aliveOf = (candidates: Replica[]): Replica[] => {
    const found = table.find(candidates.flatMap(({ record }) => record.pid ?? []));
    return candidates.filter(({ record }) => found.get(record.pid ?? 0)?.startToken === record.startToken);
  };

  const exitStatus = async ({ exited }: Replica): Promise<void> => {
    if (exited) await Promise.race([exited, delay(EXIT_STATUS_MS, undefined, { ref: false })]);
  };

  const ended: ReplicaCatalog["ended"] = (replica, exit) => {
    // After `close` it is for the next process to find out: this one's DATA_DIR may be gone already.
    if (closed || replica.record.ended || replicas.get(replica.record.name) !== replica) return;
    replica.record = { ...replica.record, ended: { at: now(), ...exit, detail: null } };
    const { stopping } = replica;
    inBackground("a replica's end was not dealt with in full", replica, async () => {
      try {
        save(replica, { ended: { at: now(), ...exit, detail: lastWords(replica.log) } });
        // `stop` sweeps by itself.
        if (!stopping) await sweep(replica);
      } finally {
        if (!closed && !stopping) for (const listener of listeners) listener(replica);
      }
    });
  };

  /** Compares what runs with what is known: takes over, sweeps, clears. */
  const discover = async (isBusy: (name: string) => boolean): Promise<void> => {
    const marked = Map.groupBy(
      (await table.scan()).filter(({ marks }) => marks?.owner === ownerId && REPLICA_NAME.test(marks.name)),
      ({ marks }) => marks?.name ?? "",
    );
    scannedAt = now();
    for (const [name, processes] of marked) {
      if (isBusy(name)) continue;
      const known = replicas.get(name);
      if (known && wasSpawned(known.record)) {
        if (aliveOf([known]).length > 0 || known.stopping) continue;
        log.warn({ replica: name, processes: processes.length }, "processes of an ended replica still ran");
        inBackground("what a replica left behind cannot be killed", known, () => sweep(known));
        continue;
      }
      takeOver(name, known, processes);
    }
    for (const [name, replica] of replicas) {
      const { record } = replica;
      const neverSpawned = !wasSpawned(record) && !marked.has(name);
      const old = record.ended !== null && record.ended.at < now() - KEEP_ENDED_MS;
      if ((neverSpawned || old) && !isBusy(name)) await remove(name);
    }
  };

  /** A replica that was spawned by a process that ended before it could write so down, or whose folder was lost. */
  const takeOver = (name: string, known: Replica | undefined, processes: MarkedProcess[]): void => {
    const oldestFirst = processes.toSorted((one, other) => one.startedAt - other.startedAt || one.pid - other.pid);
    const main = oldestFirst.find((entry) => entry.pid === entry.groupId) ?? oldestFirst[0];
    if (!main?.marks) return;
    const { replicaId, deploymentId } = main.marks;
    log.info({ replica: name, pid: main.pid }, "a replica without a record was found");
    records.makeFolders(name);
    const replica = replicaOf(known?.record ?? blank({ name, replicaId, deploymentId, createdAt: main.startedAt }));
    replicas.set(name, replica);
    save(replica, { pid: main.pid, startToken: main.startToken, startedAt: main.startedAt });
    watch();
  };

  const load = async (): Promise<void> => {
    for (const record of records.readAll()) replicas.set(record.name, replicaOf(record));
    await discover(() => false);
    // Not told to listeners: what ended before is for `inspect` to say.
    const alive = new Set(aliveOf(running()));
    for (const replica of running()) {
      if (alive.has(replica)) continue;
      save(replica, { ended: { at: now(), exitCode: null, signal: null, detail: lastWords(replica.log) } });
    }
    if (alive.size > 0) watch();
  };

  const poll = (): void => {
    polls++;
    const candidates = running();
    const alive = new Set(aliveOf(candidates));
    for (const replica of candidates) {
      try {
        replica.log.observe(now());
      } catch (error) {
        log.warn({ replica: replica.record.name, reason: messageOf(error) }, "a replica's log cannot be kept");
      }
      if (alive.has(replica)) continue;
      // One of our own is told by its exit event, with its exit status, unless that went astray.
      inBackground("a replica's end cannot be noted", replica, async () => {
        await exitStatus(replica);
        ended(replica, { exitCode: null, signal: null });
      });
    }
    if (polls % POLLS_PER_MEMORY_LOOK === 0) {
      for (const replica of alive) {
        if (replica.record.memoryMb !== null) {
          inBackground("a replica's memory cannot be looked at", replica, () => checkMemory(replica));
        }
      }
    }
    if (candidates.length === 0 && timer) {
      clearInterval(timer);
      timer = null;
    }
  };

  /** Kills a replica that uses more than it may: its exit is then told as any other. */
  const checkMemory = async (replica: Replica): Promise<void> => {
    const { name, replicaId, memoryMb, pid, startToken } = replica.record;
    if (memoryMb === null || pid === null || startToken === null || replica.stopping) return;
    const target = { name, replicaId, ownerId, main: { pid, startToken } };
    const members = await terminator.membersOf(target);
    const bytes = table.privateMemory(members.map((entry) => entry.pid));
    if (bytes === null || bytes <= memoryMb * MIB) return;
    const used = Math.ceil(bytes / MIB);
    log.warn({ replica: name, used_mb: used, allowed_mb: memoryMb }, "a replica used more memory than it may");
    replica.log.note(now(), `Killed by Toolyard: it used ${used} MB of memory, of ${memoryMb} MB that it may.`);
    await terminator.terminate(target, () => 0);
  };

  const watch = (): void => {
    if (timer || closed) return;
    timer = setInterval(poll, pollIntervalMs);
    timer.unref();
  };

  const remove = async (name: string): Promise<void> => {
    replicas.delete(name);
    await records.remove(name);
  };

  return {
    records,
    ready: () => (readiness ??= load()),
    get: (name) => replicas.get(name),
    isAlive: (replica) => wasSpawned(replica.record) && aliveOf([replica]).length > 0,
    async alive(isBusy) {
      if (now() - scannedAt >= scanIntervalMs) await discover(isBusy);
      return aliveOf([...replicas.values()].filter(({ record }) => wasSpawned(record)));
    },
    add(spec, url, createdAt) {
      const { name, replicaId, deploymentId, resources } = spec;
      const replica = replicaOf({
        ...blank({ name, replicaId, deploymentId, createdAt }),
        url,
        memoryMb: resources.memoryMb,
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
      watch();
    },
    exitStatus,
    ended,
    remove,
    async removeTemporary(name) {
      try {
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
    },
  };
}

/** The last line that Toolyard itself wrote. Nothing of what the replica printed: records lie on disk, and it may hold secrets. */
function lastWords(log: ReplicaLog): string | null {
  const line = log.readLast(LINES_FOR_DETAIL).findLast(({ stream, text }) => stream === "SYSTEM" && text.trim() !== "");
  if (!line) return null;
  const text = line.text.trim();
  return text.length > DETAIL_LENGTH ? `${text.slice(0, DETAIL_LENGTH)}…` : text;
}
