import { connectorTo, originOf } from "@toolyard/runtimes/endpoint/connector.ts";
import { socketPathOf } from "@toolyard/runtimes/endpoint/socket-path.ts";
import { Pool } from "@toolyard/service-kit/http/undici.ts";
import type { Dispatcher } from "undici";
import type { Candidate } from "./balance.ts";
import { createPassiveHealth, type PassiveHealth } from "./passive-health.ts";
import { namesPrivateAddress, publicConnector } from "@toolyard/service-kit/http/remote-addresses.ts";
import type { Logger } from "@toolyard/service-kit";
import { createLegacyServer, type LegacyServer } from "../legacy/legacy-server.ts";
import { createThrottle } from "../legacy/throttle.ts";
import { createMessagePaths, type MessagePaths } from "../mcp/message-paths.ts";
import type { RouteTarget } from "@toolyard/routes";
import { createReplicaClient, type ReplicaClient } from "../upstream/replica-client.ts";
import { createBudget } from "../calls/budget.ts";

/** A target of the route table with this proxy's state of it: its connections and its calls under way. */
export interface Replica extends Candidate {
  readonly target: RouteTarget;
  outstanding: number;
  /** Of those the ones that end by themselves: no streams. */
  owed: number;
  turn: number;
  setReady(ready: boolean): void;
  readonly health: PassiveHealth;
  /** The prefix of the call's path: the path of the target's URL, mostly "". */
  readonly pathPrefix: string;
  /** Name, value…: the credential and further headers for this target. */
  readonly headers: readonly string[];
  /** Lower-case names of `headers` beside the credential: a client's own are not sent. */
  readonly ownHeaders: ReadonlySet<string> | null;
  /** Its MCP endpoint with a trailing slash added or removed, when a redirect led there: the next calls go there at once. */
  movedTo: string | null;
  readonly messagePaths: MessagePaths;
  /** Its state as a possible server of HTTP+SSE; null for a bridge, which never is one. */
  readonly legacy: LegacyServer | null;
  /** Sends calls. Use it at once, as `pool`. */
  dispatcher(): Pick<Dispatcher, "dispatch">;
  /** Use it at once. Opened by calls and closed with the last connection, since few of thousands of routes are called. */
  pool(): Dispatcher;
  /** Takes no new call; running ones end by themselves. */
  retire(): void;
  /** Ends its connections. */
  destroy(): Promise<void>;
}

const CONNECT_TIMEOUT_MS = 5_000;
/** Below the 5 s after which Node's and Python's usual servers close an idle connection: a call must not meet a closing one. */
const KEEP_ALIVE_MS = 4_000;
/** For calls of HTTP+SSE servers that still run; their streams end after it. */
const RETIRED_DRAIN_MS = 30_000;
/** Bytes of incomplete messages of HTTP+SSE servers: room for some of the longest. */
const MAX_HELD_BYTES = 64 * 1024 * 1024;

/** @param onPoolError Receives the error of a pool that cannot be closed in order. */
export function createReplica(options: {
  target: RouteTarget;
  allowPrivateRemotes: boolean;
  onPoolError: (error: unknown) => void;
  logger: Logger;
  now: () => number;
}): Replica {
  const { target, allowPrivateRemotes, onPoolError, logger, now } = options;
  const url = new URL(target.url);
  const guarded = target.remote && !allowPrivateRemotes;
  const extra = target.headers.flatMap(({ name, value }) => [name.toLowerCase(), value]);
  // A replica at an address that the operator does not allow is never ready.
  const refused = guarded && namesPrivateAddress(url);
  const origin = originOf(target);
  const connect = guarded
    ? publicConnector({ timeout: CONNECT_TIMEOUT_MS })
    : connectorTo(target, { timeoutMs: CONNECT_TIMEOUT_MS });
  let pool: Pool | null = null;
  let client: ReplicaClient | null = null;
  let ready = target.ready && !refused;
  function open(): Pool {
    if (pool) return pool;
    const opened = new Pool(origin, { pipelining: 1, keepAliveTimeout: KEEP_ALIVE_MS, connect });
    // A pool keeps a client, of some 20 KB, for each connection that it ever had.
    opened.on("disconnect", () => {
      const { connected, size } = opened.stats;
      if (pool === opened && connected === 0 && size === 0) taken()?.close().catch(onPoolError);
    });
    pool = opened;
    return opened;
  }
  function taken(): Pool | null {
    const open = pool;
    pool = null;
    return open;
  }
  const headers = target.token === "" ? extra : ["authorization", `Bearer ${target.token}`, ...extra];
  const messagePaths = createMessagePaths();
  const legacy =
    target.token === ""
      ? createLegacyServer({
          server: {
            target,
            headers,
            dispatcher: open,
            messagePaths,
            held: createBudget(MAX_HELD_BYTES),
            throttle: createThrottle(),
          },
          secrets: target.headers.map(({ value }) => value),
          isBusy: () => replica.outstanding > 0,
          logger,
          now,
        })
      : null;
  const endLegacy = (drainMs: number): Promise<void> => legacy?.close(drainMs).catch(onPoolError) ?? Promise.resolve();
  const replica: Replica = {
    id: target.replicaId,
    target,
    get ready() {
      return ready;
    },
    setReady: (now) => {
      ready = now && !refused;
    },
    outstanding: 0,
    owed: 0,
    turn: 0,
    movedTo: null,
    messagePaths,
    health: createPassiveHealth(),
    pathPrefix: socketPathOf(target.url) === null ? url.pathname.replace(/\/+$/, "") : "",
    headers,
    ownHeaders: extra.length === 0 ? null : new Set(extra.filter((_, index) => index % 2 === 0)),
    legacy,
    // On the way to a remote server, a client's own time is nothing.
    dispatcher: () =>
      target.remote
        ? open()
        : (client ??= createReplicaClient({ origin, connect, idleMs: KEEP_ALIVE_MS, others: open })),
    pool: open,
    retire() {
      void endLegacy(RETIRED_DRAIN_MS);
      client?.close();
      void taken()?.close().catch(onPoolError);
    },
    async destroy() {
      await endLegacy(0);
      client?.destroy();
      await taken()?.destroy();
    },
  };
  return replica;
}
