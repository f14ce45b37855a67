import { createSecretMask } from "@toolyard/service-kit/secret-mask.ts";

import { defaults } from "./arguments.ts";
import type { OpenChild } from "./child/child.ts";
import { keepAlive } from "./protocol/exchange.ts";
import { createLineLog } from "./child/line-log.ts";
import { createMemory, type Memory } from "./child/memory.ts";
import { createPool } from "./child/pool.ts";
import { createProbe } from "./probe.ts";
import { createBridgeServer } from "./server.ts";
import { readOwnInterface } from "./own-interface.ts";
import { createSessions } from "./sessions/sessions.ts";
import { createSharedChildren } from "./shared-children.ts";
import { createStateless } from "./stateless/stateless.ts";
import { type Launch, type SpawnedProcess } from "./child/spawn.ts";
import { createCallSpans } from "./tracing/call-spans.ts";

export interface BridgeOptions {
  /** The launch to run, from `prepareLaunch`, or another way to open a child. */
  launch: Launch | OpenChild;
  /** Whether a child is kept warm for the next session. @default true */
  spare?: boolean;
  /** A process of that launch that was started already: it becomes the first child. */
  first?: SpawnedProcess;
  host?: string;
  /** 0: the system picks one; `listen` says which. */
  port?: number;
  /** Descriptor of a socket that listens already, instead of host and port. @default null */
  listenFd?: number | null;
  /** The bearer token required of clients. null: none, which is allowed on loopback only. */
  token: string | null;
  /** Host names that requests may name besides the loopback ones and `host`. */
  allowedHosts?: readonly string[];
  /** isolated: a child for each session; shared: one for all. */
  sessions?: "isolated" | "shared";
  maxSessions?: number;
  /** A session without calls and streams is closed after this. */
  idleSeconds?: number;
  /** How long a server may take to answer `initialize`. */
  startTimeoutSeconds?: number;
  /** The longest message that a server may write. */
  maxMessageBytes?: number;
  /** The limit for the bridge and all its children together; null: the machine's memory. */
  memoryMb?: number | null;
  /** Processes and threads, likewise. */
  maxTasks?: number | null;
  /** As of a `Handover`. */
  memoryKillCounts?: readonly string[] | undefined;
  /** Instead of looking at the machine. */
  memory?: Memory;
  /** A request without answer or progress for this long fails, and is cancelled at the server. */
  timeoutSeconds?: number;
  /** Secrets to hide in the log, and in errors and log lines that go to clients. */
  secrets?: readonly string[];
  /** Marks the log's lines: see `markOf`. */
  logKey?: string | null;
  /** Takes the log, one JSON line at a time: `{"at", "stream", "text"}`. */
  writeLog?: (line: string) => void;
  now?: () => number;
  /** For tests: how long a session waits for a process that is asked something, before it has another started. */
  blankWaitMs?: number;
}

export interface Bridge {
  /** Starts the first child and listens. Rejects with Node's error when the address is taken. The port is 0 for a socket without a port. */
  listen(): Promise<{ host: string; port: number }>;
  /** The answer to `GET /ready`. */
  health(): { ok: boolean; body: Record<string, unknown> };
  /** Takes nothing new, lets running calls finish for `drainMs`, ends everything. Resolves when no child is left. */
  close(drainMs?: number): Promise<void>;
  /** SIGKILL to every child, synchronously: for a process that must end now. */
  kill(): void;
}

const LOOPBACK: readonly string[] = ["127.0.0.1", "::1", "localhost"];
/** The least number of children for requests without a session, of which one caller may have only a part. */
const MIN_SHARED = 64;
/** Less than the start of most servers, which a session would otherwise wait for. */
const BLANK_WAIT_MS = 250;
const SWEEP_MS = 1_000;
/** Sweeps between two keep-alives on quiet streams. */
const KEEP_ALIVE_EVERY = 15;
const DEFAULT_DRAIN_MS = 10_000;
const DRAIN_POLL_MS = 20;

/**
 * Serves one MCP server that speaks stdio as Streamable HTTP at /mcp, in both protocol eras.
 * @throws Error when `token` is null and `host` is not a loopback address.
 */
export function createBridge(options: BridgeOptions): Bridge {
  const {
    launch,
    first = null,
    spare = true,
    host = "127.0.0.1",
    port = 0,
    listenFd = null,
    token,
    allowedHosts = [],
    sessions: mode = "isolated",
  } = options;
  const {
    maxSessions = defaults.maxSessions,
    idleSeconds = defaults.idleSeconds,
    timeoutSeconds = defaults.timeoutSeconds,
    startTimeoutSeconds = defaults.startTimeoutSeconds,
    maxMessageBytes = defaults.maxMessageBytes,
    memoryMb = null,
    maxTasks = null,
    secrets = [],
    logKey = null,
    writeLog = () => undefined,
    now = Date.now,
  } = options;
  if (token === null && !LOOPBACK.includes(host))
    throw new Error(`listening on ${host} needs a token: only loopback goes without`);
  const idleMs = idleSeconds * 1000;
  const mask = createSecretMask(secrets);
  const log = createLineLog(writeLog, now, mask.text, logKey);
  let closing = false;
  let sweeper: NodeJS.Timeout | null = null;
  let sweeps = 0;

  const {
    memory = createMemory({
      now,
      limitBytes: memoryMb === null ? null : memoryMb * 1024 * 1024,
      limitTasks: maxTasks,
      killCounts: options.memoryKillCounts,
    }),
  } = options;
  const onFailure = (): void => children.warm();
  const pool = createPool({ launch, first, spare, log, mask, now, memory, maxMessageBytes, onFailure });
  const children = createSharedChildren({
    pool,
    log,
    now,
    timeoutSeconds,
    maxChildren: Math.max(maxSessions, MIN_SHARED),
    blankWaitMs: options.blankWaitMs ?? BLANK_WAIT_MS,
    statusOf: (call, message) => stateless.statusOf(call, message),
    onRequest: (shared, message, raw) => stateless.onRequest(shared, message, raw),
    onNotification: (shared, message, raw) => stateless.onNotification(shared, message, raw),
    onEnd: (shared, end) => stateless.held.lose(shared.peer, end.reason),
  });
  const stateless = createStateless({ children, log, now, holdMs: idleMs, isolated: mode === "isolated" });
  const sessions = createSessions({
    pool,
    children,
    mode,
    maxSessions,
    idleMs,
    timeoutSeconds,
    startTimeoutSeconds,
    now,
  });
  const probe = createProbe({ pool, children, sessions, log, timeoutSeconds, startTimeoutSeconds, now });

  function health(): { ok: boolean; body: Record<string, unknown> } {
    const ok = pool.healthy && !closing;
    const failure = pool.failure;
    return {
      ok,
      body: {
        status: closing ? "closing" : ok ? "ok" : failure === null ? "starting" : "failing",
        sessions: sessions.size,
        children: pool.size,
        ...(failure === null || ok ? {} : { error: failure.reason }),
      },
    };
  }

  const server = createBridgeServer({
    host,
    token,
    allowedHosts,
    sessions,
    stateless,
    probe,
    spans: createCallSpans(),
    log,
    health,
    status: () => ({ ...health().body, words: pool.failure?.words ?? "", printed: pool.printed, maxSessions, mode }),
    readInterface: () => readOwnInterface(children),
    closing: () => closing,
  });

  function sweep(): void {
    const at = now();
    sweeps += 1;
    sessions.sweep(at);
    children.sweep(at, idleMs, timeoutSeconds);
    stateless.held.sweep(at);
    if (sweeps % KEEP_ALIVE_EVERY === 0) {
      sessions.keepAlive(keepAlive);
      for (const stream of stateless.streams) keepAlive(stream);
    }
  }

  function busy(): boolean {
    return sessions.busy || children.all().some((shared) => shared.peer.open.size > 0);
  }

  return {
    health,
    async listen() {
      children.warm();
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen(listenFd === null ? { port, host } : { fd: listenFd }, () => {
          server.off("error", reject);
          resolve();
        });
      });
      sweeper = setInterval(sweep, SWEEP_MS);
      sweeper.unref();
      const address = server.address();
      return { host, port: typeof address === "object" ? (address?.port ?? 0) : 0 };
    },
    async close(drainMs = DEFAULT_DRAIN_MS) {
      closing = true;
      const stopped = new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
      stateless.close();
      const deadline = performance.now() + drainMs;
      while (busy() && performance.now() < deadline) {
        await new Promise((resolve) => {
          setTimeout(resolve, DRAIN_POLL_MS);
        });
      }
      if (sweeper !== null) clearInterval(sweeper);
      sessions.closeAll("the bridge is shutting down");
      children.close();
      await pool.close();
      server.closeAllConnections();
      await stopped;
    },
    kill: () => pool.kill(),
  };
}
