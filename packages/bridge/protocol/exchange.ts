import type { ServerResponse } from "node:http";

import { metaKey } from "./era.ts";
import { code, errorText, type Id, metaOf, readMessage } from "./json-rpc.ts";
import { findValues, lastText, replaceValues } from "./json-splice.ts";

/**
 * One HTTP answer that carries JSON-RPC messages. It stays undecided until the first message: when that is the only
 * answer asked for, it goes out as plain JSON in one write; anything before it turns the answer into an event stream.
 * Records and functions instead of the SDK's HTTP transport: that one builds a Request, a Response and a ReadableStream
 * and validates every message with zod, which alone costs more than the rest of the way through the bridge.
 */
export interface Exchange {
  /** A stream's may be followed by another, when its client comes back for it. */
  response: ServerResponse;
  /** Whether the client takes an event stream. */
  readonly streamable: boolean;
  /** Answers still to come; the exchange ends with the last. Infinity for a stream that ends otherwise. */
  outstanding: number;
  readonly batch: string[] | null;
  /** Keeps the events of its stream; null: they are gone with their connection. */
  readonly keeper: EventKeeper | null;
  sessionId: string | null;
  streaming: boolean;
  ended: boolean;
}

/** Keeps events of streams for clients that come back for them. */
export interface EventKeeper {
  /** A stream begins. Answers the id of its beginning, for clients that take an event without data; null for others. */
  begin(exchange: Exchange): string | null;
  /** Answers the event's id. */
  add(exchange: Exchange, json: string): string;
}

/** A client that does not read is given up when this many bytes wait for it; … */
const MAX_UNSENT_BYTES = 32 * 1024 * 1024;
/** … and the one for which most wait, when this many wait for all clients of the process together, since they share its memory. */
const MAX_UNSENT_IN_ALL = 256 * 1024 * 1024;
/** The exchange for which the most waits. */
const SLOW_BYTES = 1024 * 1024;
const slow = new Set<Exchange>();

function leaveRoom(exchange: Exchange): void {
  const { response } = exchange;
  if (response.writableLength < SLOW_BYTES) return;
  if (!slow.has(exchange)) response.once("close", () => slow.delete(exchange));
  slow.add(exchange);
  let all = 0;
  let most = exchange;
  for (const one of slow) {
    all += one.response.writableLength;
    if (one.response.writableLength > most.response.writableLength) most = one;
  }
  if (all <= MAX_UNSENT_IN_ALL) return;
  slow.delete(most);
  giveUp(most);
}

function giveUp(exchange: Exchange): void {
  exchange.ended ||= exchange.keeper === null;
  exchange.response.destroy();
}

/** For requests whose numbers JavaScript prints differently: the written form of ids and progress tokens, by JavaScript's form. */
const digits = new WeakMap<ServerResponse, Map<string, string>>();
const ID_PATH = ["id"];
const TOKEN_PATH = ["params", "_meta", "progressToken"];
const ID_PLACES = [["id"], ["params", "progressToken"]];
const SUBSCRIPTION_PLACES = ["params", "result"].map((part) => [part, "_meta", metaKey.subscriptionId]);

/** Makes answers to this request repeat its id and progress token as it wrote them. @param text The request's. */
export function keepDigits(response: ServerResponse, request: unknown, text: string): void {
  const message = readMessage(request);
  if (message?.method === undefined) return;
  if (typeof message.id === "number") keepNumber(response, message.id, ID_PATH, text);
  const token = metaOf(message.params)?.progressToken;
  if (typeof token === "number") keepNumber(response, token, TOKEN_PATH, text);
}

function keepNumber(response: ServerResponse, value: number, path: readonly string[], text: string): void {
  const member = `"${path.at(-1)}":${value}`;
  // Written as JavaScript would: nothing to note.
  if (Number.isSafeInteger(value) && (text.includes(`${member},`) || text.includes(`${member}}`))) return;
  const written = lastText(text, path);
  if (written === String(value)) return;
  const known = digits.get(response) ?? new Map<string, string>();
  digits.set(response, known.set(String(value), written));
}

function withDigits(response: ServerResponse, json: string): string {
  const known = digits.get(response);
  if (known === undefined) return json;
  const edits = [...ID_PLACES, ...SUBSCRIPTION_PLACES].flatMap((path) =>
    findValues(json, path).flatMap((span) => {
      const written = known.get(json.slice(span.start, span.end));
      return written === undefined ? [] : [{ spans: [span], text: written }];
    }),
  );
  return replaceValues(json, edits);
}

export function createExchange(
  response: ServerResponse,
  options: { streamable: boolean; outstanding: number; batch?: boolean; keeper?: EventKeeper },
): Exchange {
  return {
    response,
    streamable: options.streamable,
    outstanding: options.outstanding,
    batch: options.batch === true ? [] : null,
    keeper: options.keeper ?? null,
    sessionId: null,
    streaming: false,
    ended: false,
  };
}

/** Begins the event stream if it has not begun. */
export function openStream(exchange: Exchange): void {
  if (exchange.streaming || exchange.ended) return;
  exchange.streaming = true;
  writeStreamHead(exchange);
  const beginning = exchange.keeper?.begin(exchange) ?? null;
  if (beginning !== null) exchange.response.write(`id: ${beginning}\ndata:\n\n`);
}

function writeStreamHead(exchange: Exchange): void {
  exchange.response.writeHead(200, {
    "content-type": "text/event-stream",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
    ...(exchange.sessionId === null ? {} : { "mcp-session-id": exchange.sessionId }),
  });
  exchange.response.flushHeaders();
}

function writeEvent(exchange: Exchange, json: string): void {
  const { response, keeper } = exchange;
  if (response.writableLength > MAX_UNSENT_BYTES) giveUp(exchange);
  const id = keeper === null ? null : keeper.add(exchange, json);
  if (response.destroyed) return;
  response.write(id === null ? `event: message\ndata: ${json}\n\n` : eventWithId(id, json));
  leaveRoom(exchange);
}

function eventWithId(id: string, json: string): string {
  return `id: ${id}\nevent: message\ndata: ${json}\n\n`;
}

/** Goes on with a stream on another connection, after the events that its client missed. */
export function resumeExchange(
  exchange: Exchange,
  response: ServerResponse,
  missed: readonly { id: string; json: string }[],
): void {
  const { response: before } = exchange;
  const known = digits.get(before);
  if (known !== undefined) digits.set(response, known);
  exchange.response = response;
  // Its client has left it, whether or not this has been noticed here.
  if (!before.writableEnded) before.destroy();
  writeStreamHead(exchange);
  for (const { id, json } of missed) response.write(eventWithId(id, json));
  if (exchange.ended) response.end();
}

/** Sends a message that is not one of the answers. False when this exchange cannot carry it. `json` is on one line. */
export function sendAlong(exchange: Exchange, json: string): boolean {
  if (exchange.ended || !exchange.streamable) return false;
  openStream(exchange);
  writeEvent(exchange, withDigits(exchange.response, json));
  return true;
}

/** Sends one of the answers; the last one ends the exchange. `status` applies when it goes out as plain JSON. */
export function sendAnswer(exchange: Exchange, json: string, status = 200): void {
  if (exchange.ended) return;
  exchange.outstanding -= 1;
  const last = exchange.outstanding <= 0;
  const text = withDigits(exchange.response, json);
  if (exchange.streaming) {
    writeEvent(exchange, text);
    if (last) endExchange(exchange);
    return;
  }
  if (exchange.batch !== null) {
    exchange.batch.push(text);
    if (last) writeJson(exchange, `[${exchange.batch.join(",")}]`, 200);
    return;
  }
  writeJson(exchange, text, status);
}

function writeJson(exchange: Exchange, json: string, status: number): void {
  exchange.ended = true;
  const length = Buffer.byteLength(json);
  const head = ["content-type", "application/json", "content-length", String(length)];
  if (exchange.sessionId !== null) head.push("mcp-session-id", exchange.sessionId);
  exchange.response.writeHead(status, head).end(json, length === json.length ? "latin1" : "utf8");
  leaveRoom(exchange);
}

/** Ends it after the messages sent so far. */
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

/** Keeps proxies between client and bridge from taking a quiet stream for a dead one. */
export function keepAlive(exchange: Exchange): void {
  if (exchange.streaming && !exchange.ended) exchange.response.write(": keepalive\n\n");
}

/** A refusal before anything was passed on: a JSON-RPC error with an HTTP status. */
export function refuse(
  response: ServerResponse,
  status: number,
  options: { id?: Id | null; code?: number; message: string; data?: unknown; headers?: Record<string, string> },
): void {
  if (response.headersSent || response.destroyed) return;
  const error = errorText(options.id ?? null, options.code ?? code.serverError, options.message, options.data);
  const body = withDigits(response, error);
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
    ...options.headers,
  });
  response.end(body);
}
