import type { OutgoingHttpHeaders } from "node:http";
import type { HttpExchange } from "./http-exchange.ts";

/** An answer that goes on for as long as both sides want. */
export interface ResponseStream {
  /** Aborted when either side closes the connection. */
  readonly closed: AbortSignal;
  /** Resolves when the client has room for more; awaiting it is back-pressure. @returns false when the client is gone */
  write(text: string): Promise<boolean>;
  /** Skipped while the client has not read earlier data. */
  beat(text: string): void;
  /** The connection is broken off when the client does not take the rest in time. */
  end(text?: string): void;
  /** Drops the connection with all unsent data. */
  breakOff(): void;
}

export interface ResponseStreamOptions {
  headers: OutgoingHttpHeaders;
  /** How long a client may leave sent data unread, until its connection is broken off. */
  stalledMs: number;
}

/** Begins an answer with status 200. */
export function openResponseStream(
  exchange: Pick<HttpExchange, "response" | "headers">,
  options: ResponseStreamOptions,
): ResponseStream {
  const { response } = exchange;
  const { headers, stalledMs } = options;
  const closed = new AbortController();
  let stalled: NodeJS.Timeout | undefined;
  let onDrain: (() => void) | null = null;
  let drained: Promise<void> | null = null;

  response.once("close", () => {
    clearTimeout(stalled);
    onDrain?.();
    closed.abort();
  });
  response.on("drain", () => {
    clearTimeout(stalled);
    onDrain?.();
    onDrain = null;
    drained = null;
  });
  // A connection that breaks is closed as well, which is all that matters here.
  response.on("error", () => undefined);
  response.writeHead(200, {
    ...exchange.headers,
    "cache-control": "no-cache, no-transform",
    // Tells nginx and similar proxies to pass on every part as it comes.
    "x-accel-buffering": "no",
    ...headers,
  });
  response.flushHeaders();
  if (response.destroyed) closed.abort();

  const breakOffWhenStalled = () => {
    stalled = setTimeout(() => response.destroy(), stalledMs);
    stalled.unref();
  };

  return {
    closed: closed.signal,
    async write(text) {
      if (closed.signal.aborted || response.writableEnded) return false;
      if (!response.write(text) && !drained) {
        drained = new Promise((resolve) => {
          onDrain = resolve;
        });
        breakOffWhenStalled();
      }
      if (drained) await drained;
      return !closed.signal.aborted;
    },
    beat(text) {
      if (!closed.signal.aborted && !response.writableEnded && !drained) response.write(text);
    },
    end(text) {
      if (closed.signal.aborted || response.writableEnded) return;
      clearTimeout(stalled);
      breakOffWhenStalled();
      response.end(text);
    },
    breakOff: () => response.destroy(),
  };
}
