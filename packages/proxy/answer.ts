import type { IncomingMessage, ServerResponse } from "node:http";
import { problemDetails, type ToolyardError } from "@toolyard/service-kit";

/** An answer that the proxy gives itself. */
export interface Refusal {
  /** The status where it is not that of the error's code: 503 for what is away for a while. */
  status?: number;
  error: ToolyardError;
  /** Seconds. */
  retryAfter?: number | undefined;
  /** Name, value…. */
  headers?: readonly string[];
}

export interface AnswerOptions {
  requestId: string;
  /** Name, value…: CORS. */
  headers: readonly string[];
  /** Whether a body may be coming that is not read: the connection then ends, once the client has had the time to read this answer. */
  unreadBody: boolean;
}

/** How much of, and how long, an unread body is thrown away, so that the client is not reset before it has read why. */
const LINGER_BYTES = 32 * 1024 * 1024;
const LINGER_MS = 10_000;

/** Answers `application/problem+json`. The status that went out. */
export function refuse(
  request: IncomingMessage,
  response: ServerResponse,
  refusal: Refusal,
  options: AnswerOptions,
): number {
  const { requestId, headers, unreadBody } = options;
  const problem = problemDetails(refusal.error, requestId);
  const status = refusal.status ?? problem.status;
  const body = Buffer.from(JSON.stringify({ ...problem, status }));
  response.writeHead(status, [
    "content-type",
    "application/problem+json",
    "content-length",
    String(body.length),
    "x-request-id",
    requestId,
    "cache-control",
    "no-store",
    ...(refusal.retryAfter === undefined ? [] : ["retry-after", String(refusal.retryAfter)]),
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
