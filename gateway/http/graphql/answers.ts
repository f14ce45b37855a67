import type { OutgoingHttpHeaders } from "node:http";
import { ToolyardError, isPublic, problemDetails } from "@toolyard/service-kit";
import { graphqlStatusOf, type GraphqlErrorCode } from "@toolyard/service-kit/errors/error-codes.ts";
import type { ExecutionResult, GraphQLFormattedError } from "graphql";
import type { ResponseType } from "../../formats/media-types.ts";
import type { RouteExchange } from "../direct-routes.ts";
import { HttpRefusal, adviceOf } from "../problem.ts";
import type { RouteContext } from "../route.ts";

/** A refusal with an HTTP status of its own. */
export interface Refused {
  status: number;
  errors: readonly GraphQLFormattedError[];
}

/** Answers of GraphQL over HTTP, and the statuses that its media types give them. */
export interface GraphqlAnswers {
  send(exchange: RouteExchange, type: ResponseType, result: ExecutionResult | Refused): void;
  /** The results of a list. */
  sendList(exchange: RouteExchange, results: readonly object[]): void;
  /** Answers an error that was thrown before there was a result. */
  fail(exchange: RouteExchange, error: unknown): void;
}

/** How much of an answer the system's buffers take though the client reads nothing. */
const UNREAD_BYTES = 65_536;

export function createGraphqlAnswers(context: Pick<RouteContext, "bodies" | "logger" | "stalledMs">): GraphqlAnswers {
  const { bodies, logger, stalledMs = 60_000 } = context;

  /** Gives up on a client that does not read its answer, which would otherwise stay in memory. */
  function sendWhole(exchange: RouteExchange, status: number, type: ResponseType, body: string): void {
    // Node ends the connection then; the next request on it ends the watch.
    if (body.length > UNREAD_BYTES) exchange.response.setTimeout(stalledMs);
    send(exchange, status, type, body);
  }

  function fail(exchange: RouteExchange, error: unknown): void {
    const { request, requestId } = exchange;
    const { refusal } = exchange.caller ?? {};
    const isRateLimited = error instanceof ToolyardError && error.code === "RATE_LIMITED";
    if (refusal && refusal !== error && !isRateLimited) return fail(exchange, refusal);
    const problem = problemDetails(error, requestId);
    if (problem.status >= 500) logger.error({ err: error, request_id: requestId }, "a request failed");
    Object.assign(exchange.headers, adviceOf(problem));
    const ownStatus = error instanceof HttpRefusal ? error.statusCode : null;
    const status = ownStatus ?? graphqlStatusOf(problem.code, problem.retry_after_seconds);
    const errors = [errorOf(error, requestId)];
    const answer = () => send(exchange, status, "application/json", JSON.stringify({ errors }));
    const isUnread =
      problem.code === "PAYLOAD_TOO_LARGE" || (problem.code === "CAPACITY_EXHAUSTED" && !request.complete);
    if (isUnread) void bodies.discard(exchange).then(answer);
    else answer();
  }

  return {
    send(exchange, type, result) {
      if ("status" in result) {
        send(exchange, result.status, type, JSON.stringify({ errors: result.errors }));
        return;
      }
      const status = "data" in result ? 200 : statusOf(result, type, exchange.headers);
      sendWhole(exchange, status, type, print(result, exchange.requestId));
    },
    sendList: (exchange, results) => sendWhole(exchange, 200, "application/json", JSON.stringify(results)),
    fail,
  };
}

export function refused(status: number, message: string, requestId: string): Refused {
  return { status, errors: [plainError("BAD_USER_INPUT", message, requestId)] };
}

function plainError(code: GraphqlErrorCode, message: string, requestId: string): GraphQLFormattedError {
  return { message, extensions: { code, requestId } };
}

export function errorOf(error: unknown, requestId: string): GraphQLFormattedError {
  const problem = problemDetails(error, requestId);
  const extensions = isPublic(error) ? error.extensions : {};
  return { message: problem.detail, extensions: { ...extensions, code: problem.code, requestId } };
}

/** A result without data was refused before anything ran. In `application/json` that is 200, except for errors that clients act on. */
function statusOf({ errors }: ExecutionResult, type: ResponseType, headers: OutgoingHttpHeaders): number {
  const { code, retryAfterSeconds } = errors?.[0]?.extensions ?? {};
  if (typeof retryAfterSeconds === "number") headers["retry-after"] = String(retryAfterSeconds);
  return type === "application/json" && code !== "RATE_LIMITED" ? 200 : graphqlStatusOf(code, retryAfterSeconds);
}

/** A result as JSON. A scalar of any shape may nest too deeply to be serialized, which is its subgraph's fault. */
function print(result: ExecutionResult, requestId: string): string {
  try {
    return JSON.stringify(result);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const message = "A subgraph's answer is nested too deeply to be passed on.";
    return JSON.stringify({ data: null, errors: [plainError("UPSTREAM_UNAVAILABLE", message, requestId)] });
  }
}

function send({ response, headers }: RouteExchange, status: number, type: ResponseType, body: string): void {
  const length = Buffer.byteLength(body);
  headers["content-type"] = `${type}; charset=utf-8`;
  headers["content-length"] = length;
  response.writeHead(status, headers);
  // The same bytes where all is ASCII, and quicker made.
  response.end(body, length === body.length ? "latin1" : "utf8");
}
