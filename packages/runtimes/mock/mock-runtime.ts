import { setTimeout as delay } from "node:timers/promises";
import type { ErrorCode } from "@toolyard/service-kit/errors/errors.ts";
import { ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import type { ReplicaHandle, ReplicaLogLine, ReplicaSpec, Runtime } from "../runtime.ts";

/** What goes wrong with one replica. Nothing, when empty. Times in milliseconds. */
export interface MockFault {
  /** `start` throws this, and nothing runs. */
  failToStart?: { code: ErrorCode; message: string };
  /** Ends by itself so long after its start. */
  exitAfterMs?: number;
  /** With which status it does. @default 1 */
  exitCode?: number;
  /** What it says when it does. */
  lastWords?: string;
  /** When it begins to answer. @default 0 */
  readyAfterMs?: number | "never";
  /** Ends at the end of the grace period only. */
  ignoresSigterm?: boolean;
  /** Stays so long after SIGKILL. */
  unkillableForMs?: number;
}

/** The host on which mock replicas run: what stays when a control plane is killed. Give it to the next one's runtime. */
export interface MockWorld {
  replicas: Map<string, MockReplica>;
  /** Starts so far, for identities that differ. */
  starts: number;
}

interface MockReplica {
  spec: ReplicaSpec;
  handle: ReplicaHandle;
  fault: MockFault;
  startedAt: number;
  /** When SIGKILL does its work; null while nobody stops it. */
  goneAt: number | null;
  ended: { exitCode: number | null; signal: string | null; detail: string } | null;
  lines: ReplicaLogLine[];
}

export interface MockRuntime extends Runtime {
  answers: NonNullable<Runtime["answers"]>;
  /** Lets happen what is due at `now()`. */
  tick(): void;
  /** What runs now, with its address. */
  running(): ReplicaSpec[];
  /** The replica is killed from outside. */
  crash(name: string): void;
  /** The replica prints a line. */
  print(name: string, text: string): void;
}

export function createMockWorld(): MockWorld {
  return { replicas: new Map(), starts: 0 };
}

/**
 * Replicas that exist in memory only. Deterministic: with `tickIntervalMs: null` nothing happens but in a call, and
 * times come from `now`.
 */
export function createMockRuntime(
  options: {
    world?: MockWorld;
    now?: () => number;
    /** What is to go wrong with a replica that is about to start. */
    faultOf?: (spec: ReplicaSpec) => MockFault;
    /** How often `tick` is called by itself; null: never. @default 50 */
    tickIntervalMs?: number | null;
  } = {},
): MockRuntime {
  const { world = createMockWorld(), now = Date.now, faultOf = (): MockFault => ({}), tickIntervalMs = 50 } = options;
  const listeners = new Set<Parameters<Runtime["onExit"]>[0]>();
  const waiting = new Map<MockReplica, PromiseWithResolvers<void>>();
  const told = new WeakSet<MockReplica>([...world.replicas.values()].filter(({ ended }) => ended !== null));

  const find = (handle: ReplicaHandle): MockReplica | undefined => {
    const replica = world.replicas.get(handle.name);
    return replica?.handle.identity["start"] === handle.identity["start"] ? replica : undefined;
  };
  /** Replicas that are to end by themselves or by a stop. */
  const ending = new Set<MockReplica>();
  let timer: NodeJS.Timeout | null = null;
  let closed = false;
  const print = (replica: MockReplica, stream: ReplicaLogLine["stream"], text: string): void => {
    replica.lines.push({ at: now(), stream, text });
  };
  const end = (replica: MockReplica, ended: NonNullable<MockReplica["ended"]>): void => {
    replica.ended = ended;
    print(replica, "SYSTEM", ended.detail);
  };

  const settle = (replica: MockReplica): void => {
    if (!replica.ended) {
      const { exitAfterMs, exitCode = 1, lastWords, ignoresSigterm = false } = replica.fault;
      if (replica.goneAt !== null && now() >= replica.goneAt) {
        end(replica, { exitCode: null, signal: ignoresSigterm ? "SIGKILL" : "SIGTERM", detail: "stopped" });
      } else if (exitAfterMs !== undefined && now() >= replica.startedAt + exitAfterMs) {
        end(replica, { exitCode, signal: null, detail: lastWords ?? `ended with status ${exitCode}` });
      }
    }
    if (!replica.ended) return;
    ending.delete(replica);
    waiting.get(replica)?.resolve();
    waiting.delete(replica);
    if (told.has(replica)) return;
    told.add(replica);
    if (replica.goneAt === null) for (const listener of listeners) listener(replica.handle, replica.spec.deploymentId);
  };
  const tick = (): void => {
    for (const replica of ending) settle(replica);
    if (ending.size > 0 || timer === null) return;
    clearInterval(timer);
    timer = null;
  };
  /** Something is going to happen to it. */
  const watch = (replica: MockReplica): void => {
    ending.add(replica);
    if (tickIntervalMs !== null && !closed) timer ??= setInterval(tick, tickIntervalMs).unref();
  };
  const alive = (): MockReplica[] => {
    for (const replica of world.replicas.values()) settle(replica);
    return [...world.replicas.values()].filter(({ ended }) => ended === null);
  };

  for (const replica of world.replicas.values())
    if (!replica.ended && (replica.goneAt !== null || replica.fault.exitAfterMs !== undefined)) watch(replica);

  return {
    kind: "MOCK",
    capabilities: {
      launches: ["stdio", "http", "image"],
      maxReplicas: null,
      location: "HOST",
      egress: true,
      adopts: true,
      isolation: { isolated: true, detail: "Replicas are simulated: nothing runs." },
    },
    needsPort: () => true,
    async start(spec, signal) {
      signal?.throwIfAborted();
      const existing = world.replicas.get(spec.name);
      if (existing) settle(existing);
      if (existing && !existing.ended) return existing.handle;
      const fault = faultOf(spec);
      if (fault.failToStart) throw new ToolyardError(fault.failToStart.code, fault.failToStart.message);
      const identity = { start: ++world.starts };
      const endpoint = { url: `http://${spec.host}:${spec.port}`, owner: null };
      const handle: ReplicaHandle = { runtime: "MOCK", name: spec.name, identity, endpoint };
      const replica = { spec, handle, fault, startedAt: now(), goneAt: null, ended: null, lines: [] };
      world.replicas.set(spec.name, replica);
      if (fault.exitAfterMs !== undefined) watch(replica);
      print(replica, "SYSTEM", `listening on ${spec.host}:${spec.port}`);
      return handle;
    },
    async list() {
      return alive().map(({ handle, spec }) => ({
        handle,
        replicaId: spec.replicaId,
        deploymentId: spec.deploymentId,
      }));
    },
    recognize: async (handle) => handle,
    async inspect(handle) {
      const replica = find(handle);
      if (!replica) return { alive: false, exitCode: null, signal: null, detail: null };
      settle(replica);
      return replica.ended ? { alive: false, ...replica.ended } : { alive: true, startedAt: replica.startedAt };
    },
    async logs(handle, last) {
      const lines = find(handle)?.lines ?? [];
      return last <= 0 ? [] : lines.slice(-last);
    },
    async *followLogs(handle, signal, from = "NOW") {
      const replica = find(handle);
      let next = from === "START" ? 0 : (replica?.lines.length ?? 0);
      while (replica && !signal.aborted) {
        const over = replica.ended !== null || find(handle) !== replica;
        while (next < replica.lines.length) {
          const line = replica.lines[next++];
          if (line) yield line;
        }
        if (over) return;
        await delay(tickIntervalMs ?? 1, undefined, { ref: false });
      }
    },
    stop(handle, graceMs) {
      const replica = find(handle);
      if (!replica) return Promise.resolve();
      const { ignoresSigterm = false, unkillableForMs = 0 } = replica.fault;
      const goneAt = now() + (ignoresSigterm ? graceMs : 0) + unkillableForMs;
      replica.goneAt = Math.min(replica.goneAt ?? goneAt, goneAt);
      const gone = waiting.get(replica) ?? Promise.withResolvers<void>();
      waiting.set(replica, gone);
      watch(replica);
      settle(replica);
      return gone.promise;
    },
    async forget(handle) {
      const replica = find(handle);
      if (!replica) return;
      settle(replica);
      if (!replica.ended) throw new ToolyardError("CONFLICT", `Replica ${handle.name} still runs.`);
      world.replicas.delete(handle.name);
    },
    onExit(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async close() {
      closed = true;
      if (timer) clearInterval(timer);
      listeners.clear();
    },
    tick,
    answers(handle) {
      const replica = find(handle);
      if (!replica) return false;
      settle(replica);
      const { readyAfterMs = 0 } = replica.fault;
      return !replica.ended && readyAfterMs !== "never" && now() >= replica.startedAt + readyAfterMs;
    },
    running: () => alive().map(({ spec }) => spec),
    crash(name) {
      const replica = world.replicas.get(name);
      if (!replica || replica.ended) return;
      end(replica, { exitCode: null, signal: "SIGKILL", detail: "killed from outside" });
      settle(replica);
    },
    print(name, text) {
      const replica = world.replicas.get(name);
      if (replica) print(replica, "STDOUT", text);
    },
  };
}
