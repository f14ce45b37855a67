import type { IncomingMessage, ServerResponse } from "node:http";
import { securityHeaders } from "@toolyard/service-kit/http/security-headers.ts";
import type { Call } from "./call.ts";
import { problemDetails, type ProblemDetails, type ToolyardError } from "@toolyard/service-kit";

/** An answer that the proxy gives itself. */
export interface Refusal {
  /** The status where HTTP has one of its own for it. */
  status?: number;
  error: ToolyardError;
  /** Name, value…. */
  headers?: readonly string[];
  /** The code of a JSON-RPC error; a general server error unless given. */
  rpcCode?: number;
}

export interface AnswerOptions {
  requestId: string;
  /** Name, value…: CORS. */
  headers: readonly string[];
  /** Whether an unread body may be coming: the connection then closes, once the client has had time to read this answer. */
  unreadBody: boolean;
  /** The id, as JSON, of the request that an MCP client waits for; null when it is not MCP. */
  mcpId: string | null;
}

const SERVER_ERROR = -32_000;

/** Name, value…: of all answers that the proxy gives itself. */
export const securityFields: readonly string[] = Object.entries(securityHeaders(null)).flat();

/** How much of an unread body is discarded, and for how long, so that the client is not reset before it has read the answer. */
const LINGER_BYTES = 32 * 1024 * 1024;
const LINGER_MS = 10_000;

/**
 * Answers `application/problem+json`, or to an MCP client a JSON-RPC error that has the problem as its data: the SDKs show
 * their user nothing else. The status that went out.
 */
export function refuse(
  request: IncomingMessage,
  response: ServerResponse,
  refusal: Refusal,
  options: AnswerOptions,
): number {
  const { requestId, headers, unreadBody, mcpId } = options;
  const problem = problemOf(refusal, requestId);
  const { status, retry_after_seconds: retryAfter } = problem;
  const body = Buffer.from(mcpId === null ? JSON.stringify(problem) : rpcErrorOf(refusal, problem, mcpId));
  response.writeHead(status, [
    "content-type",
    mcpId === null ? "application/problem+json" : "application/json",
    "content-length",
    String(body.length),
    "x-request-id",
    requestId,
    ...securityFields,
    ...(retryAfter === undefined ? [] : ["retry-after", String(retryAfter)]),
    ...(refusal.headers ?? []),
    ...headers,
    ...(unreadBody ? ["connection", "close"] : []),
  ]);
  if (!unreadBody || request.method === "HEAD") {
    response.end(request.method === "HEAD" ? undefined : body);
    return status;
  }
  response.write(body);
  linger(request, response);
  return status;
}

function problemOf(refusal: Refusal, requestId: string): ProblemDetails {
  const known = problemDetails(refusal.error, requestId);
  return { ...known, status: refusal.status ?? known.status };
}

function rpcErrorOf(refusal: Refusal, problem: ProblemDetails, mcpId: string): string {
  const error = { code: refusal.rpcCode ?? SERVER_ERROR, message: problem.detail, data: problem };
  return `{"jsonrpc":"2.0","id":${mcpId},"error":${JSON.stringify(error)}}`;
}

/** Ends a stream of events that broke with the error as its last event: the SDKs' clients wait for an answer until their own limit. */
export function endEvents({ response, requestId }: Call, refusal: Refusal, mcpId: string): void {
  // The event before may have broken in the middle.
  endSoon(response, `\n\ndata: ${rpcErrorOf(refusal, problemOf(refusal, requestId), mcpId)}\n\n`);
}

/** A client that reads nothing of its answer for this long is cut off: a call holds a replica's connection, or memory. */
export const STALLED_CLIENT_MS = 120_000;

/** A JSON-RPC answer of the proxy's own, in parts, to a request that HTTP has nothing against. Answers its status. */
export function answerJsonRpc(
  { response, requestId, corsHeaders }: Call,
  parts: readonly (string | Buffer)[],
  closes: boolean,
): number {
  response.writeHead(200, [
    "content-type",
    "application/json",
    "content-length",
    String(parts.reduce((sum, part) => sum + Buffer.byteLength(part), 0)),
    "x-request-id",
    requestId,
    ...securityFields,
    ...corsHeaders,
    ...(closes ? ["connection", "close"] : []),
  ]);
  for (const part of parts) response.write(part);
  endSoon(response);
  return 200;
}

/** Ends an answer that its client may not have read yet. */
function endSoon(response: ServerResponse, last?: string): void {
  response.end(last);
  const stalled = setTimeout(() => response.destroy(), STALLED_CLIENT_MS).unref();
  response.once("close", () => clearTimeout(stalled));
}

/** The answer is out; its end, which closes the connection, waits for the request's. */
function linger(request: IncomingMessage, response: ServerResponse): void {
  let left = LINGER_BYTES;
  const end = () => {
    clearTimeout(timer);
    request.off("data", onData).off("end", end);
    response.end();
  };
  const onData = (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) end();
  };
  request.on("data", onData).on("end", end);
  const timer = setTimeout(end, LINGER_MS).unref();
  response.once("close", () => clearTimeout(timer));
  if (request.readableEnded) end();
  else request.resume();
}
