import type { ServerResponse } from "node:http";

import { code, errorText, type Id } from "./json-rpc.ts";

/**
 * One HTTP answer that carries JSON-RPC messages. It stays undecided until the first message: when that is the only
 * answer asked for, it goes out as plain JSON in one write; anything before it turns the answer into an event stream.
 * Records and functions instead of the SDK's HTTP transport: that one builds a Request, a Response and a ReadableStream
 * and validates every message with zod, which alone costs more than the rest of the way through the bridge.
 */
export interface Exchange {
  readonly response: ServerResponse;
  /** Whether the client takes an event stream. */
  readonly streamable: boolean;
  /** Answers still to come; the exchange ends with the last. Infinity for a stream that ends otherwise. */
  outstanding: number;
  readonly batch: string[] | null;
  sessionId: string | null;
  streaming: boolean;
  ended: boolean;
}

/** A client that does not read is given up when so many bytes wait for it. */
const maxUnsentBytes = 32 * 1024 * 1024;

export function createExchange(
  response: ServerResponse,
  options: { streamable: boolean; outstanding: number; batch?: boolean },
): Exchange {
  return {
    response,
    streamable: options.streamable,
    outstanding: options.outstanding,
    batch: options.batch === true ? [] : null,
    sessionId: null,
    streaming: false,
    ended: false,
  };
}

function sessionHeader(exchange: Exchange): Record<string, string> {
  return exchange.sessionId === null ? {} : { "mcp-session-id": exchange.sessionId };
}

/** Begins the event stream if it has not begun. */
export function openStream(exchange: Exchange): void {
  if (exchange.streaming || exchange.ended) return;
  exchange.streaming = true;
  exchange.response.writeHead(200, {
    "content-type": "text/event-stream",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
    ...sessionHeader(exchange),
  });
  exchange.response.flushHeaders();
}

function writeEvent(exchange: Exchange, json: string): void {
  const { response } = exchange;
  if (response.writableLength > maxUnsentBytes) {
    exchange.ended = true;
    response.destroy();
    return;
  }
  response.write(`event: message\ndata: ${json}\n\n`);
}

/** Sends a message that is not one of the answers. False when this exchange cannot carry it. `json` is on one line. */
export function sendAlong(exchange: Exchange, json: string): boolean {
  if (exchange.ended || !exchange.streamable) return false;
  openStream(exchange);
  writeEvent(exchange, json);
  return true;
}

/** Sends one of the answers; the last one ends the exchange. `status` counts where it goes out as plain JSON. */
export function sendAnswer(exchange: Exchange, json: string, status = 200): void {
  if (exchange.ended) return;
  exchange.outstanding -= 1;
  const last = exchange.outstanding <= 0;
  if (exchange.streaming) {
    writeEvent(exchange, json);
    if (last) endExchange(exchange);
    return;
  }
  if (exchange.batch !== null) {
    exchange.batch.push(json);
    if (last) writeJson(exchange, `[${exchange.batch.join(",")}]`, 200);
    return;
  }
  writeJson(exchange, json, status);
}

function writeJson(exchange: Exchange, json: string, status: number): void {
  exchange.ended = true;
  exchange.response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(json),
    ...sessionHeader(exchange),
  });
  exchange.response.end(json);
}

/** Ends it with what was sent so far. */
export function endExchange(exchange: Exchange): void {
  if (exchange.ended) return;
  if (exchange.batch !== null && exchange.batch.length > 0 && !exchange.streaming) {
    writeJson(exchange, `[${exchange.batch.join(",")}]`, 200);
    return;
  }
  openStream(exchange);
  exchange.ended = true;
  exchange.response.end();
}

/** One answer of a batch that will not come (it was cancelled). */
export function skipAnswer(exchange: Exchange): void {
  exchange.outstanding -= 1;
  if (exchange.outstanding <= 0) endExchange(exchange);
}

/** Keeps what is between the client and the bridge from taking a quiet stream for a dead one. */
export function keepAlive(exchange: Exchange): void {
  if (exchange.streaming && !exchange.ended) exchange.response.write(": keepalive\n\n");
}

/** A refusal before anything was passed on: JSON-RPC error body, HTTP status. */
export function refuse(
  response: ServerResponse,
  status: number,
  options: { id?: Id | null; code?: number; message: string; data?: unknown; headers?: Record<string, string> },
): void {
  if (response.headersSent || response.destroyed) return;
  const body = errorText(options.id ?? null, options.code ?? code.serverError, options.message, options.data);
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
    ...options.headers,
  });
  response.end(body);
}
