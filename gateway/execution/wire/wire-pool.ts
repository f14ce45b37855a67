import { createPipelining } from "./pipelining.ts";
import { WireProblem, type WireResponse } from "./response-parser.ts";
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
  /** How many requests may be sent at once behind each other on one connection; 1: none waits for another. */
  maxPipelined: number;
}

export type WireRequest = Pick<Exchange, "request" | "isRepeatable" | "isQuick" | "resolve" | "reject">;

export interface WirePool {
  /**
   * Sends a request with the others of this turn of the event loop. One of its two functions is called, once; when `resolve` throws,
   * `reject` as well, which may not throw.
   * @returns takes it back: nobody waits for the answer any more, and neither function is called
   */
  send(request: WireRequest): () => void;
  /** Ends everything that is under way. */
  close(): void;
}

/** The server did not take the connection, or did not answer, in time. */
export class WireTimeout extends Error {
  override readonly name = "WireTimeout";
}

/** How long the first of several may take before those behind it are sent another way. */
const STALLED_AFTER_MS = 100;
/** How long one that was sent behind another may go without an answer, until a server that drops those is suspected. */
const LOST_AFTER_MS = 1_000;
const MAX_ATTEMPTS = 3;
const IDLE_SWEEP_MS = 1_000;
const READ_BYTES = 65_536;

/**
 * Connections to one server, kept. What is asked within one turn of the event loop and is known to be answered quickly is sent together,
 * many requests in one write (pipelining), since a write to a socket costs as much as a good part of a request. `pipelining.ts` has how
 * many; those that a slow one keeps waiting after all are sent again on connections of their own.
 */
export function createWirePool(options: WirePoolOptions): WirePool {
  const { origin, maxConnections, connectTimeoutMs, timeoutMs, idleMs, maxBodyBytes, maxPipelined } = options;
  const all = new Set<WireConnection>();
  /** Those without a request. The one used last is taken first, so those not needed grow old and close. */
  const free: WireConnection[] = [];
  /** Those whose first request kept the others waiting: these were sent elsewhere as well. */
  const stalled = new WeakSet<WireConnection>();
  let queue: Exchange[] = [];
  let isScheduled = false;
  let isClosed = false;
  let sweeper: NodeJS.Timeout | undefined;
  let isSweepSoon = false;
  const sweepEveryMs = Math.max(5, Math.min(25, timeoutMs / 8, connectTimeoutMs / 8));
  const pipelining = createPipelining({ maxDepth: maxPipelined });
  const sharedBuffer = Buffer.allocUnsafeSlow(READ_BYTES);
  // Windows holds on to a connection's buffer all the time.
  const readBufferOf = () => (process.platform === "win32" ? Buffer.allocUnsafeSlow(READ_BYTES) : sharedBuffer);

  function schedule(): void {
    if (isScheduled) return;
    isScheduled = true;
    setImmediate(flush);
  }

  function flush(): void {
    isScheduled = false;
    const waiting = queue;
    queue = [];
    for (let at = 0; at < waiting.length;) {
      const first = waiting[at] as Exchange; // the loop stays within the array
      if (first.isSettled) {
        at += 1;
        continue;
      }
      let connection: WireConnection | undefined;
      try {
        connection = freeConnection() ?? newConnection() ?? busyConnection(first);
      } catch (error) {
        fail(first, toError(error));
        continue;
      }
      if (!connection) {
        // Until one is free.
        queue = waiting.slice(at).filter(isWaiting).concat(queue);
        break;
      }
      const batch = [first];
      at += 1;
      const depth = first.isQuick && connection.hasAnswered() ? pipelining.depth() - connection.waiting.length : 1;
      for (; batch.length < depth && at < waiting.length; at++) {
        const next = waiting[at] as Exchange;
        if (!next.isQuick) break;
        if (!next.isSettled) batch.push(next);
      }
      if (batch.length > 1) {
        const together = { left: batch.length, firstAnsweredAt: 0 };
        for (const exchange of batch) exchange.batch = together;
      }
      connection.send(batch);
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

  /** Where all have something to do: one with little, and nothing slow or to be asked once only. */
  function busyConnection(exchange: Exchange): WireConnection | undefined {
    if (!exchange.isQuick) return undefined;
    let best: WireConnection | undefined;
    for (const connection of all) {
      const { waiting } = connection;
      if (!connection.hasAnswered() || stalled.has(connection) || waiting.length >= pipelining.depth()) continue;
      if ((!best || waiting.length < best.waiting.length) && waiting.every(({ isQuick }) => isQuick)) best = connection;
    }
    return best;
  }

  function onAnswer(connection: WireConnection, exchange: Exchange, response: WireResponse): void {
    const now = connection.lastReadAt();
    const { batch } = exchange;
    if (batch) {
      if (batch.firstAnsweredAt === 0) batch.firstAnsweredAt = now;
      batch.left -= 1;
      if (batch.left === 0) pipelining.answered(now - batch.firstAnsweredAt);
    }
    if (connection.waiting.length === 0 && response.keepsAlive) {
      stalled.delete(connection);
      free.push(connection);
      if (queue.length > 0) schedule();
    }
    if (exchange.isSettled) return;
    exchange.isSettled = true;
    try {
      exchange.resolve(response, now - exchange.sentAt);
    } catch (error) {
      // It is no fault of the connection, on which others may wait.
      exchange.reject(toError(error));
    }
  }

  function onClose(connection: WireConnection, reason: Error): void {
    all.delete(connection);
    const at = free.indexOf(connection);
    if (at >= 0) free.splice(at, 1);
    const { waiting } = connection;
    if (waiting.length > 1 && !isClosed && !isForNobody(connection)) pipelining.failed();
    // A server may close a connection that was idle just as a request is on its way.
    const isUnlucky = connection.hasAnswered() && !connection.isWithinResponse() && isOrderly(reason);
    waiting.splice(0).forEach((exchange, index) => {
      exchange.places -= 1;
      if (exchange.isSettled) return;
      const isRepeated = (index > 0 || isUnlucky) && mayRepeat(exchange);
      // Somewhere else it may still be answered.
      if (exchange.places > 0 && (!isRepeated || stalled.has(connection))) return;
      if (isRepeated) repeat(exchange);
      else fail(exchange, reason);
    });
    if (queue.length > 0) schedule();
  }

  function mayRepeat({ isRepeatable, isSettled, attempts }: Exchange): boolean {
    return isRepeatable && !isSettled && attempts < MAX_ATTEMPTS && !isClosed;
  }

  function repeat(exchange: Exchange): void {
    exchange.isQuick = false;
    exchange.batch = null;
    exchange.places += 1;
    queue.push(exchange);
    schedule();
  }

  function fail(exchange: Exchange, error: Error): void {
    if (exchange.isSettled) return;
    exchange.isSettled = true;
    exchange.reject(error);
  }

  /** Looks after the connections as long as there are any; holds up no process. */
  function watch(): void {
    if (all.size === 0 || isClosed) return;
    const isBusy = all.size > free.length;
    if (sweeper) {
      if (!isBusy || isSweepSoon) return;
      clearTimeout(sweeper);
    }
    isSweepSoon = isBusy;
    // Only after what has come is read: where this process was busy for long, all look late that are not.
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
    const [first] = connection.waiting;
    if (!first) {
      if (connection.expiresAt() <= now) connection.close(new WireClosed("was idle for long"));
      return;
    }
    if (first.isSettled && isForNobody(connection)) {
      connection.close(new WireClosed("is not waited for any more"));
      return;
    }
    const silentMs = now - Math.max(connection.lastReadAt(), first.sentAt);
    if (connection.isConnecting()) {
      if (silentMs > connectTimeoutMs) connection.close(new WireTimeout("did not take the connection in time"));
    } else if (silentMs > timeoutMs) connection.close(new WireTimeout("did not answer in time"));
    else rescue(connection, first, now - Math.max(connection.lastAnsweredAt(), first.sentAt));
  }

  /** They keep their places: whichever answer comes first is taken. */
  function rescue(connection: WireConnection, first: Exchange, heldUpMs: number): void {
    if (heldUpMs > STALLED_AFTER_MS && connection.waiting.length > 1 && !stalled.has(connection)) {
      stalled.add(connection);
      pipelining.failed();
      for (const exchange of connection.waiting.slice(1)) if (mayRepeat(exchange)) repeat(exchange);
    }
    if (heldUpMs > LOST_AFTER_MS && first.isBehind && first.attempts === 1 && mayRepeat(first)) {
      stalled.add(connection);
      pipelining.failed();
      repeat(first);
    }
  }

  /** @returns whether nobody waits for anything on it any more */
  function isForNobody({ waiting }: WireConnection): boolean {
    return waiting.length > 0 && waiting.every(({ isSettled }) => isSettled);
  }

  return {
    send({ request, isRepeatable, isQuick, resolve, reject }) {
      const exchange: Exchange = {
        request,
        isRepeatable,
        // What is sent behind others may have to be sent again.
        isQuick: isQuick && isRepeatable,
        sentAt: 0,
        attempts: 0,
        places: 1,
        isBehind: false,
        isSettled: false,
        batch: null,
        resolve,
        reject,
      };
      if (isClosed) fail(exchange, new WireClosed("is not asked any more"));
      else {
        queue.push(exchange);
        schedule();
      }
      return () => {
        if (exchange.isSettled) return;
        exchange.isSettled = true;
        // The server need not go on with it.
        for (const connection of all) {
          if (connection.waiting.includes(exchange) && isForNobody(connection))
            connection.close(new WireClosed("is not waited for any more"));
        }
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

function isWaiting({ isSettled }: Exchange): boolean {
  return !isSettled;
}

function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

/** Whether a connection ended as one does that was idle for too long. */
function isOrderly(reason: Error): boolean {
  if (reason instanceof WireClosed) return true;
  return (
    !(reason instanceof WireProblem) && "code" in reason && (reason.code === "ECONNRESET" || reason.code === "EPIPE")
  );
}
