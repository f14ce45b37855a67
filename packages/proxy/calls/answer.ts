import type { IncomingMessage, ServerResponse } from "node:http";
import { securityHeaders } from "@toolyard/service-kit/http/security-headers.ts";
import type { Call } from "./call.ts";
import { problemDetails, type ToolyardError } from "@toolyard/service-kit";

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
  const known = problemDetails(refusal.error, requestId);
  const status = refusal.status ?? known.status;
  const problem = { ...known, status };
  const { retry_after_seconds: retryAfter } = known;
  const error = { code: refusal.rpcCode ?? SERVER_ERROR, message: problem.detail, data: problem };
  const text =
    mcpId === null ? JSON.stringify(problem) : `{"jsonrpc":"2.0","id":${mcpId},"error":${JSON.stringify(error)}}`;
  const body = Buffer.from(text);
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
  response.end();
  const stalled = setTimeout(() => response.destroy(), STALLED_CLIENT_MS).unref();
  response.once("close", () => clearTimeout(stalled));
  return 200;
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
