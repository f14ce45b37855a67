import { randomBytes } from "node:crypto";
import { mkdirSync, realpathSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import type { Logger } from "@toolyard/service-kit/process/log.ts";
import { warmUpBridge } from "./bridge-warm-up.ts";
import { createSandbox } from "./bubblewrap.ts";
import type { Isolation } from "./bubblewrap.ts";
import { createCgroups } from "./cgroups.ts";
import type { Cgroups } from "./cgroups.ts";
import { claimFolder } from "./ownership.ts";
import { createHostPaths } from "./host-paths.ts";
import { createLaunchPlanner } from "./launch-plan.ts";
import type { KeptTrust } from "./launch-plan.ts";
import { ROTATE_AT_BYTES } from "./log-file.ts";
import { createPrlimit } from "./prlimit.ts";
import { createProcessTable } from "./process-table.ts";
import type { ProcessTable } from "./process-table.ts";
import { createReplicaCatalog } from "./replica-catalog.ts";
import type { Replica } from "./replica-catalog.ts";
import { wasSpawned } from "./replica-records.ts";
import { listenForBridge, needsPort } from "./listening-socket.ts";
import { createReplicaStorage } from "./replica-storage.ts";
import { exitOf, spawnReplica } from "./spawning.ts";
import { httpUrl } from "../endpoint/http-url.ts";
import { DEFAULT_REPLICA_ENV } from "../host/host-variables.ts";
import type { Trust } from "../host/trust.ts";
import { processOwner } from "../endpoint/listener.ts";
import { createTerminator } from "./termination.ts";
import type { Target } from "./termination.ts";
import { oneStart } from "../one-start.ts";
import type { ReplicaHandle, ReplicaSpec, Runtime } from "../runtime.ts";

export interface ProcessRuntimeOptions {
  /** Replicas live in its `replicas` folder, their homes in `homes`. This process' alone (`lockFolder`). Hidden from replicas under bubblewrap. */
  dataDir: string;
  /** Where caches are, in a folder of this DATA_DIR's own; it is there already. Hidden from replicas, too. @default `cache` in `dataDir` */
  cacheDir?: string | null;
  /** @default "auto": bubblewrap where it works. */
  isolation?: Isolation;
  /** Names of this host's environment that replicas get besides PATH, HOME, LANG and TZ. @default DEFAULT_REPLICA_ENV */
  replicaEnv?: readonly string[];
  /** Takes the place of what `hostEnv` says of certificates. @default null: replicas trust what they would on this host */
  trust?: Trust | null;
  /** This process's environment. */
  hostEnv: Record<string, string | undefined>;
  log: Logger;
  /** The bridge's main file. @default the one of this project. */
  bridgeEntry?: string;
  /**
   * Whether to fill the bridge's compile cache, which bridges cannot under bubblewrap, in a process beside this one at once.
   * @default false
   */
  warmUpBridge?: boolean;
  /** Files and folders that replicas must not see under bubblewrap, such as `.env`. */
  hiddenPaths?: readonly string[];
  /** Whether others than the operator can have replicas started; see `allowedPaths` and `isolation`. @default false */
  reachable?: boolean;
  /**
   * Folders of this host that launches may name as working directory or writable, under bubblewrap.
   * @default none where `reachable`, else any that is not protected
   */
  allowedPaths?: readonly string[] | null;
  /** How often replicas of earlier processes are looked at, and logs are rotated. @default 500 */
  pollIntervalMs?: number;
  /** How long a process may still be there after SIGKILL before `stop` gives up. @default 10000 */
  killTimeoutMs?: number;
  /** Size at which an output file is rotated; there are two files for each of stdout and stderr. @default ROTATE_AT_BYTES */
  logMaxBytes?: number;
  /** How long what ended and was not forgotten is kept, logs among it, when this process begins. @default 7 days */
  keepEndedMs?: number;
  /** The host's, but in a test that kills this process between two steps of a start. */
  processTable?: ProcessTable;
  /** @default those that this host lets Toolyard make */
  cgroups?: Cgroups;
  now?: () => number;
}

const NO_CPU_LIMITS = "A launch's limit of CPUs is not kept: this host gives Toolyard no control groups that have one.";
const NAME = /^[a-z0-9-]{1,128}$/;

/**
 * Runs replicas as processes of this host. They outlive this process and are found again by what is in DATA_DIR and by
 * their control groups.
 * @throws ToolyardError PRECONDITION_FAILED when bubblewrap is asked for and does not work here.
 */
export function createProcessRuntime(options: ProcessRuntimeOptions): Runtime {
  const { isolation = "auto", replicaEnv = DEFAULT_REPLICA_ENV, hostEnv, log, hiddenPaths = [] } = options;
  const { reachable = false } = options;
  const { pollIntervalMs = 500, killTimeoutMs = 10_000 } = options;
  const { logMaxBytes = ROTATE_AT_BYTES, keepEndedMs = 7 * 24 * 60 * 60 * 1000, now = Date.now } = options;
  const bridgeEntry = options.bridgeEntry === undefined ? undefined : resolve(options.bridgeEntry);
  mkdirSync(options.dataDir, { recursive: true, mode: 0o700 });
  const dataDir = realpathSync(options.dataDir);
  const ownerId = claimFolder(dataDir);
  const cacheDir = options.cacheDir ? realpathSync(options.cacheDir) : null;
  const ownFolders = [dataDir, ...(cacheDir === null ? [] : [cacheDir])];
  const { processTable: table = createProcessTable(), cgroups = createCgroups({ ownerId }) } = options;

  const root = resolve(import.meta.dirname, "../../..");
  const hostPaths = createHostPaths({
    hostEnv,
    replicaEnv,
    ownFolders,
    hiddenPaths: hiddenPaths.map((path) => resolve(path)),
    visiblePaths: [
      ...["packages", "node_modules"].map((folder) => join(root, folder)),
      ...(bridgeEntry === undefined ? [] : [dirname(bridgeEntry)]),
      dirname(process.execPath),
    ],
    ownCode: root,
    allowedPaths: options.allowedPaths ?? (reachable ? [] : null),
  });
  const { sandbox, detail: isolationDetail } = createSandbox({ isolation, hostEnv, ownFolders, hostPaths, reachable });
  const storage = createReplicaStorage({
    homes: join(dataDir, "homes"),
    // Replicas of a copy have the ids of the original's, and may run beside them.
    caches: cacheDir === null ? join(dataDir, "cache") : join(cacheDir, ownerId),
    hostEnv,
  });
  // Unisolated bridges fill their compile cache themselves.
  const bridgeWarmUp = sandbox && options.warmUpBridge ? warmUpBridge({ log }) : null;
  const planner = createLaunchPlanner({
    hostEnv,
    replicaEnv,
    trust: options.trust ? keepTrust(options.trust, join(dataDir, "trust")) : null,
    bridgeEntry,
    storage,
    hostPaths,
    sandbox,
    prlimit: createPrlimit(hostEnv),
    cgroups,
  });
  const terminatorFor = (groups: Cgroups) => createTerminator({ table, cgroups: groups, now, killTimeoutMs });
  const terminator = terminatorFor(cgroups);
  const catalog = createReplicaCatalog({
    root: join(dataDir, "replicas"),
    ownerId,
    table,
    cgroups,
    storage,
    terminator,
    terminatorFor,
    log,
    pollIntervalMs,
    logMaxBytes,
    keepEndedMs,
    now,
  });

  const starts = new Map<string, Promise<ReplicaHandle>>();
  const stops = new Map<string, { deadline: number; done: Promise<void> }>();

  const begin = async (spec: ReplicaSpec, signal: AbortSignal | undefined): Promise<ReplicaHandle> => {
    if (!NAME.test(spec.name))
      throw new ToolyardError("BAD_USER_INPUT", `${spec.name} is not a valid name for a replica.`);
    await catalog.ready();
    await stops.get(spec.name)?.done;
    const existing = catalog.get(spec.name);
    if (existing && catalog.isAlive(existing)) return handleOf(existing);
    if (existing) await terminator.terminate(catalog.targetOf(existing), () => 0);
    await catalog.makeRoom(spec);
    signal?.throwIfAborted();
    catalog.records.makeFolders(spec.name);
    let replica: Replica | null = null;
    try {
      const paths = catalog.records.pathsOf(spec.name);
      using socket = spec.launch.kind === "stdio" ? await listenForBridge(spec, paths) : null;
      const logKey = randomBytes(32).toString("base64url");
      const plan = planner.plan(spec, paths, logKey, socket?.fd ?? null);
      for (const path of [...plan.writablePaths, ...plan.granted]) catalog.checkSteady(path);
      const { writablePaths } = plan;
      const url = socket?.url ?? httpUrl(spec.host, spec.port ?? 0);
      const added = catalog.add(spec, { writablePaths, url, logKey, createdAt: now() });
      replica = added;
      await spawnReplica(plan, paths, (child) => {
        catalog.spawned(added, child.pid);
        added.exited = new Promise((settle) => {
          child.once("exit", (code, exitSignal) => {
            catalog.ended(added, exitOf(code, exitSignal, sandbox !== null));
            settle();
          });
        });
        child.on("error", (error) => log.warn({ replica: spec.name, err: error }, "a replica's process had an error"));
      });
      return handleOf(added);
    } catch (error) {
      if (replica) await terminator.terminate(catalog.targetOf(replica), () => 0);
      await catalog.remove(spec.name);
      throw error;
    }
  };

  /** Whether it is this DATA_DIR's, not one's that this is a copy of: handles are kept in the store, which is copied with it. */
  const isOwn = ({ name, identity }: ReplicaHandle): boolean => {
    const { owner, startToken } = identity;
    // Of an earlier version only the record can tell.
    return owner === undefined ? catalog.get(name)?.record.startToken === startToken : owner === ownerId;
  };

  const end = async (handle: ReplicaHandle, deadline: () => number): Promise<void> => {
    await catalog.ready();
    if (!isOwn(handle)) return;
    await starts.get(handle.name)?.catch(() => undefined); // Its caller has the error.
    const replica = catalog.get(handle.name);
    if (replica) replica.stopping = true;
    try {
      await terminator.terminate(targetOf(handle, replica), deadline);
      if (replica && wasSpawned(replica.record)) {
        await catalog.exitStatus(replica);
        catalog.ended(replica, { exitCode: null, signal: null });
        await catalog.removeTemporary(handle.name);
      }
    } finally {
      if (replica) replica.stopping = false;
    }
  };

  /** Of a replica whose record is gone, too: its group has its name. */
  const targetOf = (handle: ReplicaHandle, replica: Replica | undefined): Target => {
    const folders = replica?.record.cgroups ?? cgroups.find(handle.name);
    return { name: handle.name, main: mainOf(handle), cgroups: folders };
  };

  return {
    kind: "PROCESS",
    capabilities: {
      launches: ["stdio", "http"],
      maxReplicas: null,
      location: "HOST",
      egress: false,
      adopts: true,
      isolation: {
        isolated: sandbox !== null,
        detail: cgroups.limitsCpus ? isolationDetail : `${isolationDetail} ${NO_CPU_LIMITS}`,
      },
    },
    needsPort: (launch, host) => launch !== "stdio" || needsPort(host),

    start(spec, signal) {
      return oneStart(starts, spec.name, () => begin(spec, signal));
    },
    async list() {
      await catalog.ready();
      return catalog.alive().map((replica) => ({
        handle: handleOf(replica),
        replicaId: replica.record.replicaId,
        deploymentId: replica.record.deploymentId,
      }));
    },
    async recognize(handle) {
      await catalog.ready();
      if (!isOwn(handle)) return null;
      const replica = catalog.get(handle.name);
      return replica?.record.startToken === mainOf(handle).startToken ? handleOf(replica) : handle;
    },
    async inspect(handle) {
      await catalog.ready();
      if (!isOwn(handle)) return { alive: false, exitCode: null, signal: null, detail: null };
      const { pid, startToken } = mainOf(handle);
      const running = table.find([pid]).get(pid);
      if (running && running.startToken === startToken) return { alive: true, startedAt: running.startedAt };
      const replica = catalog.get(handle.name);
      if (!replica || replica.record.startToken !== startToken) {
        return { alive: false, exitCode: null, signal: null, detail: null };
      }
      if (!replica.record.ended) await catalog.exitStatus(replica);
      catalog.ended(replica, { exitCode: null, signal: null });
      const { exitCode = null, signal = null, detail = null, why } = replica.record.ended ?? {};
      return { alive: false, exitCode, signal, detail, ...(why !== undefined && { why }) };
    },
    async logs(handle, last) {
      await catalog.ready();
      const replica = catalog.get(handle.name);
      replica?.log.observe(now());
      return replica?.log.readLast(last) ?? [];
    },
    async *followLogs(handle, signal, from = "NOW") {
      await catalog.ready();
      const replica = catalog.get(handle.name);
      if (!replica) return;
      const isOver = (): boolean => replica.record.ended !== null || catalog.get(handle.name) !== replica;
      yield* replica.log.follow({ signal, isOver, pollMs: pollIntervalMs / 2, from });
    },
    stop(handle, graceMs) {
      const deadline = now() + graceMs;
      const running = stops.get(handle.name);
      if (running) {
        running.deadline = Math.min(running.deadline, deadline);
        return running.done;
      }
      const stop = { deadline, done: Promise.resolve() };
      stop.done = end(handle, () => stop.deadline).finally(() => stops.delete(handle.name));
      stops.set(handle.name, stop);
      return stop.done;
    },
    async forget(handle) {
      await catalog.ready();
      await stops.get(handle.name)?.done;
      const replica = catalog.get(handle.name);
      if (replica && catalog.isAlive(replica)) {
        throw new ToolyardError("CONFLICT", `Replica ${handle.name} still runs.`);
      }
      await catalog.remove(handle.name);
    },
    onExit: (listener) => catalog.onExit((replica) => listener(handleOf(replica), replica.record.deploymentId)),
    async close() {
      bridgeWarmUp?.close();
      await catalog.close();
    },
  };
}

/** Replicas that are started read its files, and others may be reading them now. */
function keepTrust({ files, variablesIn }: Trust, folder: string): KeptTrust {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (const [name, text] of Object.entries(files)) {
    const written = join(folder, `${name}.new`);
    writeFileSync(written, text);
    renameSync(written, join(folder, name));
  }
  return { folder, environment: variablesIn(folder) };
}

function handleOf({ record }: Replica): ReplicaHandle {
  const { name, replicaId, url, ownerId: owner } = record;
  const { pid, startToken } = { pid: record.pid ?? 0, startToken: record.startToken ?? "" };
  // A server binds its port by itself, and a stranger may have been there first.
  const listener = url.startsWith("unix:") ? null : processOwner({ pid, startToken });
  const identity = { owner, pid, startToken, replicaId };
  return { runtime: "PROCESS", name, identity, endpoint: { url, owner: listener } };
}

function mainOf(handle: ReplicaHandle): { pid: number; startToken: string } {
  return { pid: Number(handle.identity["pid"]), startToken: String(handle.identity["startToken"]) };
}
