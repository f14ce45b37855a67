import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { ToolyardError, preconditionFailed, messageOf, type Logger } from "@toolyard/service-kit";
import { refuse, securityFields, type Refusal } from "./calls/answer.ts";
import { parseCallPath } from "./calls/call-path.ts";
import type { Calls, CallsOptions } from "./calls/calls.ts";
import type { HostPolicy } from "@toolyard/service-kit/http/hosts.ts";
import { requireMetricsAccess } from "@toolyard/service-kit/http/metrics-access.ts";
import { readTarget } from "@toolyard/service-kit/http/request-target.ts";
import { noRequestLog, pathToLog, type RequestLog } from "@toolyard/service-kit/http/request-log.ts";
import { ambiguityOf } from "@toolyard/service-kit/http/request-ambiguity.ts";
import { createEntrances, type Entrance } from "./entrance.ts";
import { isMcpHead } from "./mcp/mcp-refusal.ts";
import type { ProxyMetrics } from "./metrics.ts";
import { createRandomHex } from "./random-hex.ts";
import type { Site } from "./site.ts";
import { readRequestHead, type RequestHead } from "./calls/request-head.ts";

export interface ProxyHealth {
  status: "healthy" | "degraded" | "unhealthy";
  [fact: string]: unknown;
}

export interface HttpServerOptions {
  policy: HostPolicy;
  calls: Calls;
  metrics: ProxyMetrics;
  /** The token that reads /metrics besides administrators' credentials. */
  metricsToken: string | null;
  authenticate: CallsOptions["authenticate"];
  health: () => ProxyHealth;
  /** The public address of those who come directly. */
  site: Site;
  logger: Logger;
  requestLog?: RequestLog;
}

const METHODS = "GET, POST, DELETE, PUT, PATCH, HEAD, OPTIONS";
const EXPOSED = "Mcp-Session-Id, X-Request-Id, WWW-Authenticate, Retry-After";
const REQUEST_ID = /^[\w.:-]{1,128}$/;
const TRACE_ID = /^[\da-f]{32}$/;
const TRACEPARENT = /^[\da-f]{2}-[\da-f]{32}-[\da-f]{16}-[\da-f]{2}$/;
/** Longer than clients and load balancers keep idle connections, so that they close them, rather than this server while they send. */
const KEEP_ALIVE_MS = 75_000;

export function createProxyServer(options: HttpServerOptions): Server {
  const { policy, calls, metrics, metricsToken, authenticate, health, site, logger } = options;
  const { requestLog = noRequestLog } = options;

  const randomHex = createRandomHex();
  const entranceOf = createEntrances({ site, authenticate });

  /** The client's trace, or a new one that has the request's id for its own; not sampled, since nothing here collects traces. */
  function traceOf(given: string | undefined, requestId: string): string {
    if (given !== undefined && TRACEPARENT.test(given)) return given;
    return `00-${TRACE_ID.test(requestId) ? requestId : randomHex(16)}-${randomHex(8)}-00`;
  }

  function receive(request: IncomingMessage, response: ServerResponse): void {
    const head = readRequestHead(request.rawHeaders);
    let entrance: Entrance | Promise<Entrance>;
    try {
      entrance = entranceOf(request, head);
    } catch (error) {
      return serve(request, response, head, { refused: error });
    }
    if (!(entrance instanceof Promise)) return serve(request, response, head, entrance);
    entrance
      .catch((error: unknown) => ({ refused: error }))
      .then((found) => response.destroyed || serve(request, response, head, found))
      .catch((error: unknown) => fail(response, error));
  }

  function serve(
    request: IncomingMessage,
    response: ServerResponse,
    head: RequestHead,
    entrance: Entrance | { refused: unknown },
  ): void {
    const requestId = head.requestId !== undefined && REQUEST_ID.test(head.requestId) ? head.requestId : randomHex(16);
    const cors = head.origin === undefined ? NO_HEADERS : corsHeaders(head.origin);
    // The gateway goes by the proxy's own address.
    const { host, url } = readTarget(request.url ?? "", site.prefix);
    if (host !== null) head.host = host;
    const path = parseCallPath(url);
    const answerRefusal = (refusal: Refusal, headers: readonly string[] = cors) => {
      const status = refuse(request, response, refusal, {
        requestId,
        headers,
        unreadBody: head.chunked || !!head.contentLength,
        // Of a request that is not admitted, only the head is read.
        mcpId: path && isMcpHead(request.method, path.path, head) ? "null" : null,
      });
      requestLog.write({ request_id: requestId, method: request.method, path: pathToLog(url), status }, "request");
    };
    const ambiguity = ambiguityOf(request.rawHeaders);
    if (ambiguity !== null) {
      const error = new ToolyardError("BAD_USER_INPUT", `The request is ambiguous: ${ambiguity}.`);
      return answerRefusal({ status: 400, error, headers: ["connection", "close"] }, []);
    }
    if ("refused" in entrance) {
      const { refused } = entrance;
      if (!(refused instanceof ToolyardError)) throw refused;
      return answerRefusal({ error: refused }, []);
    }
    try {
      policy.check(head);
    } catch (error) {
      if (error instanceof ToolyardError) return answerRefusal({ error }, []);
      throw error;
    }
    if (request.method === "OPTIONS" && head.origin !== undefined && head.requestedMethod !== undefined) {
      response.writeHead(204, [...preflightHeaders(head), ...securityFields, ...cors, "x-request-id", requestId]);
      response.end();
      return;
    }
    if (path) {
      // TRACE would show the caller headers that only the replica may see.
      if (request.method === "TRACE") return answerRefusal(forbidden("TRACE is not passed on."));
      if (head.upgrade !== undefined && /\bwebsocket\b/i.test(head.upgrade)) return answerRefusal(noWebSockets());
      return calls.handle(request, response, head, path, {
        entrance,
        requestId,
        traceparent: traceOf(head.traceparent, requestId),
        corsHeaders: cors,
      });
    }
    const json = (status: number, body: unknown) =>
      send(response, status, "application/json", JSON.stringify(body), requestId, cors);
    if (url === "/health/live") return json(200, { status: "live" });
    if (url === "/healthz") {
      const state = health();
      return json(state.status === "unhealthy" ? 503 : 200, state);
    }
    if (url === "/metrics") {
      const { authorization } = head;
      requireMetricsAccess({ authorization, metricsToken, authenticate: () => authenticate(authorization) })
        .then(() => metrics.registry.metrics())
        .then((text) => send(response, 200, metrics.registry.contentType, text, requestId, cors))
        .catch((error: unknown) => {
          if (error instanceof ToolyardError)
            return answerRefusal(
              { error, headers: error.code === "UNAUTHENTICATED" ? ["www-authenticate", "Bearer"] : [] },
              cors,
            );
          logger.error({ err: error }, "metrics could not be collected");
          response.destroy();
        });
      return;
    }
    answerRefusal({
      error: new ToolyardError(
        "NOT_FOUND",
        `There is nothing here. Tools are at ${entrance.site.prefix}/mcp/{slug}/v1/mcp.`,
      ),
    });
  }

  function fail(response: ServerResponse, error: unknown): void {
    logger.error({ err: error }, "a request failed here");
    response.destroy();
  }

  const server = createServer(
    {
      keepAliveTimeout: KEEP_ALIVE_MS,
      // Limits the head of a request, and all of it; not its answer.
      headersTimeout: 60_000,
      requestTimeout: 300_000,
      noDelay: true,
    },
    (request, response) => {
      try {
        receive(request, response);
      } catch (error) {
        fail(response, error);
      }
    },
  );
  server.on("connect", (_request, socket) => {
    const text = "This is not a forward proxy: CONNECT is not served. Tools are at /mcp/{slug}/v1/mcp.\n";
    socket.end(
      `HTTP/1.1 405 Method Not Allowed\r\nAllow: ${METHODS}\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: ${text.length}\r\n\r\n${text}`,
    );
  });
  server.on("clientError", (error, socket) => {
    logger.debug({ reason: messageOf(error) }, "a client does not speak HTTP");
    if (socket.writable) socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    else socket.destroy();
  });
  return server;
}

/** A tunnel would have no calls: none to be counted, limited, retried or timed, and MCP has no WebSocket transport. */
function noWebSockets(): Refusal {
  const message =
    "WebSockets are not passed on. MCP is spoken over Streamable HTTP here: POST to this URL, or use an HTTP transport.";
  return { status: 501, error: preconditionFailed("websockets", message) };
}

const NO_HEADERS: readonly string[] = [];

function corsHeaders(origin: string): string[] {
  return ["access-control-allow-origin", origin, "access-control-expose-headers", EXPOSED, "vary", "Origin"];
}

function preflightHeaders(head: RequestHead): string[] {
  return [
    "access-control-allow-methods",
    METHODS,
    "access-control-allow-headers",
    head.requestedHeaders ?? "authorization, content-type, mcp-session-id",
    "access-control-max-age",
    "7200",
    "content-length",
    "0",
  ];
}

function send(
  response: ServerResponse,
  status: number,
  type: string,
  text: string,
  requestId: string,
  headers: readonly string[],
): void {
  const body = Buffer.from(text);
  response.writeHead(status, [
    "content-type",
    type,
    "content-length",
    String(body.length),
    ...securityFields,
    "x-request-id",
    requestId,
    ...headers,
  ]);
  response.end(body);
}

function forbidden(message: string): Refusal {
  return { error: new ToolyardError("FORBIDDEN", message) };
}

/**
 * The WWW-Authenticate header of a 401. Without `resource_metadata` (RFC 9728 §5.1): Toolyard issues credentials by its graph, not
 * by OAuth, so there is no authorization server that such a document could lead to.
 */
export function challengeOf(head: RequestHead, message: string): string {
  const error =
    head.authorization === undefined
      ? ""
      : `error="invalid_token", error_description="${message.replace(/["\\]/g, "'")}", `;
  return `Bearer ${error}scope="INVOKE"`;
}
