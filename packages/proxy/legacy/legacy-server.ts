import { randomBytes } from "node:crypto";
import { messageOf, type Logger } from "@toolyard/service-kit";
import { Pool } from "@toolyard/service-kit/http/undici.ts";
import type { Dispatcher } from "undici";
import type { Bridge } from "@toolyard/bridge/bridge.ts";
import { readEventStream, StreamError } from "./event-stream.ts";
import type { BridgedServer } from "./stream-child.ts";
import { USUAL_STREAM_PATH } from "./transport.ts";

/** How a server's MCP endpoint is reached in the protocol's newer transport. */
interface BridgeConnection {
  dispatcher: Dispatcher;
  /** Of the bridge. */
  token: string;
}

/**
 * A replica that may be a server of HTTP+SSE, the transport of 2024-11-05. Once it is known to be one, a bridge in this process
 * serves it as Streamable HTTP, in both protocol eras: each session, and each caller without one, has a stream of its own there.
 */
export interface LegacyServer {
  /** Path and query of its stream; null while it is not known to be one. */
  readonly path: string | null;
  /** Records that it is one. */
  learn(path: string): void;
  /** Asks it at each path in turn, unless it was asked recently. Answers whether it is one. */
  detect(paths: readonly string[]): Promise<boolean>;
  /** A connection to the bridge, which is started with the first call. */
  connect(timeoutSeconds: number): Promise<BridgeConnection>;
  /** Ends streams and sessions; those that still answer, after `drainMs`. */
  close(drainMs: number): Promise<void>;
}

const DETECT_MS = 5_000;
/** Only comments precede the endpoint event. */
const MAX_DETECT_BYTES = 1024 * 1024;
/** How long a negative result is cached. */
const ASK_AGAIN_MS = 30_000;
const IDLE_MS = 60_000;
const LOOK_EVERY_MS = 15_000;
const MAX_MESSAGE_BYTES = 10 * 1024 * 1024;
const MAX_STREAMS = 1_024;

export function createLegacyServer(options: {
  server: BridgedServer;
  /** Secrets to hide in errors. */
  secrets: readonly string[];
  /** Whether calls are under way. */
  isBusy: () => boolean;
  logger: Logger;
  now: () => number;
}): LegacyServer {
  const { server, secrets, isBusy, logger, now } = options;
  let path: string | null = null;
  let askedAt = Number.NEGATIVE_INFINITY;
  let asking: Promise<boolean> | null = null;
  let running: Promise<{ bridge: Bridge; pool: Pool; connection: BridgeConnection }> | null = null;
  let usedAt = 0;
  let timer: NodeJS.Timeout | null = null;

  async function isStreamAt(candidate: string): Promise<boolean> {
    const found = new AbortController();
    let isOne = false;
    let read = 0;
    const signal = AbortSignal.any([found.signal, AbortSignal.timeout(DETECT_MS)]);
    await readEventStream(server, {
      path: candidate,
      headers: [],
      maxEventBytes: MAX_MESSAGE_BYTES,
      signal,
      onEndpoint: () => {
        isOne = true;
        found.abort();
      },
      onMessage: () => 1,
      onRead({ bytes }) {
        read += bytes;
        if (read > MAX_DETECT_BYTES) throw new StreamError("it sent too much before its endpoint event");
        return undefined;
      },
      // The stream always ends by a failure: it is no such server, or the question is over.
    }).catch((error: unknown) =>
      logger.debug({ path: candidate, reason: messageOf(error) }, "asked for an event stream"),
    );
    return isOne;
  }

  async function ask(candidates: readonly string[]): Promise<boolean> {
    for (const candidate of candidates) {
      if (!(await isStreamAt(candidate))) continue;
      path = candidate;
      return true;
    }
    askedAt = now();
    return false;
  }

  async function start(timeoutSeconds: number): Promise<{ bridge: Bridge; pool: Pool; connection: BridgeConnection }> {
    // Loaded when there is such a server: most installations have none.
    const [{ createBridge }, { openStreamChild }] = await Promise.all([
      import("@toolyard/bridge/bridge.ts"),
      import("./stream-child.ts"),
    ]);
    const token = randomBytes(32).toString("base64url");
    const bridge = createBridge({
      launch: (child) => openStreamChild(server, path ?? USUAL_STREAM_PATH, child),
      // A stream that nobody uses is not kept open at somebody else's server.
      spare: false,
      token,
      timeoutSeconds,
      maxMessageBytes: MAX_MESSAGE_BYTES,
      memory: { room: (open) => Math.max(0, MAX_STREAMS - open.length) },
      secrets,
      writeLog: (line) => logger.debug({ line }, "a bridge to an HTTP+SSE server"),
    });
    const { port } = await bridge.listen();
    const pool = new Pool(`http://127.0.0.1:${port}`, { pipelining: 1 });
    timer = setInterval(() => {
      const { sessions } = bridge.health().body;
      if (sessions === 0 && !isBusy() && now() - usedAt > IDLE_MS) void close(0);
    }, LOOK_EVERY_MS).unref();
    return { bridge, pool, connection: { dispatcher: pool, token } };
  }

  async function close(drainMs: number): Promise<void> {
    const ending = running;
    running = null;
    if (timer !== null) clearInterval(timer);
    timer = null;
    if (ending === null) return;
    const { bridge, pool } = await ending;
    await bridge.close(drainMs);
    await pool.destroy();
  }

  return {
    get path() {
      return path;
    },
    learn(seen) {
      path ??= seen;
    },
    async detect(candidates) {
      if (path !== null) return true;
      if (now() - askedAt < ASK_AGAIN_MS) return false;
      asking ??= ask(candidates).finally(() => {
        asking = null;
      });
      return asking;
    },
    async connect(timeoutSeconds) {
      usedAt = now();
      running ??= start(timeoutSeconds).catch((error: unknown) => {
        running = null;
        throw error;
      });
      return (await running).connection;
    },
    close,
  };
}
