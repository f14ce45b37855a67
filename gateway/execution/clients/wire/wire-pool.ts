import { toError } from "@toolyard/service-kit/errors/errors.ts";
import { WireProblem } from "@toolyard/service-kit/http/wire/response-reader.ts";
import type { WireResponse } from "./response-parser.ts";
import { createWireConnection, WireClosed, type Exchange, type WireConnection } from "./wire-connection.ts";

export interface WirePoolOptions {
  /** Scheme, host and port. */
  origin: URL;
  maxConnections: number;
  connectTimeoutMs: number;
  /** The longest that a server may take to begin its answer, and between two parts of it. */
  timeoutMs: number;
  /** How long a connection may be idle where the server does not say less. */
  idleMs: number;
  maxBodyBytes: number;
}

type WireRequest = Pick<Exchange, "request" | "isRepeatable" | "resolve" | "reject">;

export interface WirePool {
  /**
   * Sends a request. One of its two functions is called, once; when `resolve` throws, `reject` as well, which may not throw.
   * @returns a function that withdraws it: nobody waits for the answer any more, and neither function is called
   */
  send(request: WireRequest): () => void;
  /** Ends all requests under way. */
  close(): void;
}

/** The server did not take the connection, or did not answer, in time. */
export class WireTimeout extends Error {
  override readonly name = "WireTimeout";
}

/** Nothing of the request was sent, for want of a connection; the cause says why. */
export class WireUnreached extends Error {
  override readonly name = "WireUnreached";
}

const MAX_ATTEMPTS = 3;
const IDLE_SWEEP_MS = 1_000;
const READ_BYTES = 65_536;

/** Connections to one server, kept, each with one request at a time: an answer can only be the answer to that. */
export function createWirePool(options: WirePoolOptions): WirePool {
  const { origin, maxConnections, connectTimeoutMs, timeoutMs, idleMs, maxBodyBytes } = options;
  const all = new Set<WireConnection>();
  /** Idle ones. The one used last is taken first, so those not needed grow old and close. */
  const free: WireConnection[] = [];
  let queue: Exchange[] = [];
  let isScheduled = false;
  let isClosed = false;
  let sweeper: NodeJS.Timeout | undefined;
  let isSweepSoon = false;
  const sweepEveryMs = Math.max(5, Math.min(25, timeoutMs / 8, connectTimeoutMs / 8));
  const sharedBuffer = Buffer.allocUnsafeSlow(READ_BYTES);
  // Windows holds on to a connection's buffer all the time.
  const readBufferOf = () => (process.platform === "win32" ? Buffer.allocUnsafeSlow(READ_BYTES) : sharedBuffer);

  /**
   * Only after a whole turn of the event loop, which reads all data that came before a request was made: unexpected bytes, or an
   * end, take a connection away first.
   */
  function schedule(): void {
    if (isScheduled) return;
    isScheduled = true;
    setImmediate(setImmediate, flush);
  }

  function flush(): void {
    isScheduled = false;
    const waiting = queue;
    queue = [];
    for (const [at, exchange] of waiting.entries()) {
      if (exchange.isSettled) continue;
      let connection: WireConnection | undefined;
      try {
        connection = freeConnection() ?? newConnection();
      } catch (error) {
        fail(exchange, toError(error));
        continue;
      }
      if (!connection) {
        // Until one is free.
        queue = waiting.slice(at).concat(queue);
        break;
      }
      connection.send(exchange);
    }
    watch();
  }

  function freeConnection(): WireConnection | undefined {
    for (;;) {
      const connection = free.pop();
      if (!connection || connection.expiresAt() > performance.now()) return connection;
      connection.close(new WireClosed("was idle for long"));
    }
  }

  function newConnection(): WireConnection | undefined {
    if (all.size >= maxConnections) return undefined;
    const readBuffer = readBufferOf();
    const connection = createWireConnection({ origin, maxBodyBytes, idleMs, readBuffer, onAnswer, onClose });
    all.add(connection);
    return connection;
  }

  function onAnswer(connection: WireConnection, exchange: Exchange, response: WireResponse): void {
    if (response.keepsAlive) {
      free.push(connection);
      if (queue.length > 0) schedule();
    }
    if (exchange.isSettled) return;
    exchange.isSettled = true;
    try {
      exchange.resolve(response);
    } catch (error) {
      exchange.reject(toError(error));
    }
  }

  function onClose(connection: WireConnection, reason: Error, exchange: Exchange | null): void {
    all.delete(connection);
    const at = free.indexOf(connection);
    if (at >= 0) free.splice(at, 1);
    if (exchange && !exchange.isSettled) {
      // A server may close a connection that was idle just as a request is on its way.
      const isUnlucky = connection.hasAnswered() && !connection.isWithinResponse() && isOrderly(reason);
      if (isUnlucky && exchange.isRepeatable && exchange.attempts < MAX_ATTEMPTS && !isClosed) queue.push(exchange);
      else fail(exchange, connection.isConnecting() ? new WireUnreached(reason.message, { cause: reason }) : reason);
    }
    if (queue.length > 0) schedule();
  }

  function fail(exchange: Exchange, error: Error): void {
    if (exchange.isSettled) return;
    exchange.isSettled = true;
    exchange.reject(error);
  }

  /** Checks the connections as long as there are any; does not keep the process alive. */
  function watch(): void {
    if (all.size === 0 || isClosed) return;
    const isBusy = all.size > free.length;
    if (sweeper) {
      if (!isBusy || isSweepSoon) return;
      clearTimeout(sweeper);
    }
    isSweepSoon = isBusy;
    // Only after pending data is read: where this process was busy for long, all seem late that are not.
    sweeper = setTimeout(() => setImmediate(sweep), isBusy ? sweepEveryMs : IDLE_SWEEP_MS);
    sweeper.unref();
  }

  function sweep(): void {
    clearTimeout(sweeper);
    sweeper = undefined;
    const now = performance.now();
    for (const connection of all) check(connection, now);
    watch();
  }

  function check(connection: WireConnection, now: number): void {
    const exchange = connection.current();
    if (!exchange) {
      if (connection.expiresAt() <= now) connection.close(new WireClosed("was idle for long"));
      return;
    }
    const silentMs = now - Math.max(connection.lastReadAt(), exchange.sentAt);
    if (connection.isConnecting()) {
      if (silentMs > connectTimeoutMs) connection.close(new WireTimeout("did not take the connection in time"));
    } else if (silentMs > timeoutMs) connection.close(new WireTimeout("did not answer in time"));
  }

  return {
    send({ request, isRepeatable, resolve, reject }) {
      const exchange: Exchange = { request, isRepeatable, sentAt: 0, attempts: 0, isSettled: false, resolve, reject };
      if (isClosed) fail(exchange, new WireClosed("is not asked any more"));
      else {
        queue.push(exchange);
        schedule();
      }
      return () => {
        if (exchange.isSettled) return;
        exchange.isSettled = true;
        // The server need not go on with it, and its answer would have no reader.
        for (const connection of all)
          if (connection.current() === exchange) connection.close(new WireClosed("is not waited for any more"));
      };
    },
    close() {
      isClosed = true;
      clearTimeout(sweeper);
      sweeper = undefined;
      const reason = new WireClosed("is not asked any more");
      for (const connection of all) connection.close(reason);
      for (const exchange of queue.splice(0)) fail(exchange, reason);
    },
  };
}

/** Whether a connection ended like one that was idle for too long. */
function isOrderly(reason: Error): boolean {
  if (reason instanceof WireClosed) return true;
  return (
    !(reason instanceof WireProblem) && "code" in reason && (reason.code === "ECONNRESET" || reason.code === "EPIPE")
  );
}
