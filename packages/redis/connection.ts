import { messageOf, systemCodeOf, type Gauge, type Logger, type ServiceHealth } from "@toolyard/service-kit";
import type { RedisSettings } from "@toolyard/service-kit/process/process-config.ts";
import { bareHost } from "@toolyard/service-kit/http/hosts.ts";
import { Redis, type RedisOptions } from "ioredis";

/**
 * A process's connection to Redis, which may be away at any time: what is kept there is for speed and for sharing, never the truth.
 * Commands fail at once while it is away, and within a second when it does not answer; nothing is queued.
 */
export interface RedisConnection {
  readonly client: Redis;
  /** Begins every key and channel, with `:` after it. */
  readonly keyPrefix: string;
  /** Whether commands would fail. */
  readonly isAway: boolean;
  /** Runs `listener` each time that Redis is there again, and at the first. Returns unsubscribe. */
  onReady(listener: () => void): () => void;
  /** A further connection, for subscriptions. Closed with this one. */
  further(options?: RedisOptions): Redis;
  /** A further connection whose commands wait for Redis, for blocking reads. Closed with this one. */
  patient(): Redis;
  /** Counts an error of a command, and logs it unless the last command failed likewise. */
  failed(error: unknown): void;
  /** `redis`: whether it takes a write. Degraded where it does not, since everything goes on without it. */
  health(): Promise<ServiceHealth>;
  gauges(): Gauge[];
  close(): Promise<void>;
}

const AWAY = "It is away.";
const ANSWER_MS = 1_000;
const CONNECT_MS = 2_000;
const FIRST_RETRY_MS = 50;
const MAX_RETRY_MS = 2_000;
/** A replica may stay one. */
const LEAVE_REPLICA_MS = 5_000;

/** Twice as long after each attempt, and never quite as long as another process waits. */
export function reconnectDelayMs(attempt: number, random = Math.random): number {
  const most = Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(attempt, 10));
  return Math.ceil(most * (0.5 + random() / 2));
}

/** Begins to connect, and does not wait for it. `name` is the process's, as Redis' CLIENT LIST shows it. */
export function openRedis(options: {
  settings: RedisSettings;
  name: string;
  logger: Logger;
  /** How long Redis may take to answer. */
  answerMs?: number;
}): RedisConnection {
  const { settings, name, logger, answerMs = ANSWER_MS } = options;
  const furtherOnes = new Set<Redis>();
  let reconnects = 0;
  let errors = 0;
  let lastFailure: string | null = null;
  let leftReplicaAt = -Infinity;

  const patient: RedisOptions = {
    ...addressOf(settings),
    connectionName: `toolyard-${name}`,
    connectTimeout: CONNECT_MS,
    maxRetriesPerRequest: null,
    retryStrategy: (attempt) => reconnectDelayMs(attempt),
    // Where a name or a proxy leads to the primary, it leads to another one after a failover.
    reconnectOnError(error) {
      if (!error.message.startsWith("READONLY") || performance.now() - leftReplicaAt < LEAVE_REPLICA_MS) return false;
      leftReplicaAt = performance.now();
      return true;
    },
  };
  const impatient: RedisOptions = {
    ...patient,
    // A stopped server's host still takes what is sent: a connection on which nothing comes back is closed.
    socketTimeout: answerMs,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
  };
  const client = new Redis(impatient);

  function failed(error: unknown): void {
    errors += 1;
    const failure = reasonOf(error);
    // Commands without a connection fail for the reason that ended it.
    if (failure === lastFailure || (failure === AWAY && lastFailure !== null)) return;
    lastFailure = failure;
    logger.warn({ reason: failure }, "Redis is not usable; this process goes on by itself until it is");
  }
  function works(): void {
    if (lastFailure !== null) logger.info("Redis is usable again");
    lastFailure = null;
  }

  client.on("error", failed);
  client.on("reconnecting", () => (reconnects += 1));
  // A server that lets nobody write is there, too.
  client.on("ready", () => void probe().catch(failed));

  function open(asked: RedisOptions): Redis {
    const connection = new Redis(asked);
    connection.on("error", failed);
    furtherOnes.add(connection);
    connection.on("end", () => furtherOnes.delete(connection));
    return connection;
  }

  async function probe(): Promise<void> {
    await client.set(`${settings.keyPrefix}:health`, name, "PX", CONNECT_MS);
    works();
  }

  return {
    client,
    keyPrefix: settings.keyPrefix,
    get isAway() {
      return client.status !== "ready";
    },
    onReady(listener) {
      client.on("ready", listener);
      return () => client.off("ready", listener);
    },
    further: (more = {}) => open({ ...impatient, ...more }),
    patient: () => open(patient),
    failed,
    async health() {
      const started = performance.now();
      const found = { name: "redis", essential: false };
      const elapsed = () => Math.round((performance.now() - started) * 100) / 100;
      try {
        await probe();
        return { ...found, status: "healthy", responseTimeMs: elapsed() };
      } catch (error) {
        failed(error);
        const detail = `${lastFailure ?? reasonOf(error)} It is looked for where REDIS_URL says.`;
        return { ...found, status: "degraded", responseTimeMs: elapsed(), detail };
      }
    },
    gauges: () => {
      const labels = { process: name };
      return [
        {
          name: "redis_connected",
          help: "Whether the process is connected to Redis.",
          labels,
          value: client.status === "ready" ? 1 : 0,
        },
        { name: "redis_reconnects_total", help: "Attempts to connect to Redis again.", labels, value: reconnects },
        { name: "redis_errors_total", help: "Commands and connections to Redis that failed.", labels, value: errors },
      ];
    },
    async close() {
      for (const connection of [...furtherOnes, client]) connection.disconnect();
    },
  };
}

function addressOf({ url, ca }: RedisSettings): RedisOptions {
  const { protocol, hostname, port, username, password, pathname } = new URL(url);
  const host = bareHost(hostname);
  return {
    host,
    port: Number(port || 6379),
    db: Number(pathname.slice(1)),
    ...(username !== "" && { username: decodeURIComponent(username) }),
    ...(password !== "" && { password: decodeURIComponent(password) }),
    ...(protocol === "rediss:" && { tls: { servername: host, ...(ca !== null && { ca }) } }),
  };
}

/** For operators, and without addresses or keys: /health shows it to everybody. */
function reasonOf(error: unknown): string {
  const message = messageOf(error);
  const code = systemCodeOf(error) ?? /^(?:Ready check failed: )?([A-Z]{2,}[A-Z_]*) /.exec(message)?.[1];
  if (/timed? ?out/i.test(message) || code === "ETIMEDOUT") return "It does not answer.";
  if (code === "ECONNREFUSED") return "Nothing listens there (connection refused).";
  if (code === "ENOTFOUND") return "Its host name is not known.";
  if (code === "WRONGPASS" || code === "NOAUTH") return `It refuses user and password (${code}).`;
  if (code === "NOPERM") return "Its user may not do what Toolyard needs (NOPERM).";
  if (code === "READONLY") return "It is a replica that takes no writes (READONLY).";
  if (code === "OOM") return "Its memory is full (OOM).";
  if (code !== undefined && /CERT|TLS|SSL|SIGNED|UNABLE_TO_|WRONG_VERSION/.test(code))
    return `TLS with it fails (${code}).`;
  return code === undefined ? AWAY : `It cannot be used (${code}).`;
}
