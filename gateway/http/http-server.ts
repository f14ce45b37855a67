import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import cors from "@fastify/cors";
import { ToolyardError, problemDetails, publicMessage, requestIdOf, type Logger } from "@toolyard/service-kit";
import Fastify, { LogController, type FastifyBaseLogger, type FastifyReply, type FastifyRequest } from "fastify";
import { createCrossSitePolicy } from "@toolyard/service-kit/http/cross-site.ts";
import { createHostPolicy } from "@toolyard/service-kit/http/hosts.ts";
import { withoutPrefix } from "@toolyard/service-kit/http/path-prefix.ts";
import { noRequestLog, pathToLog, statusToLog } from "@toolyard/service-kit/http/request-log.ts";
import { ambiguityOf } from "@toolyard/service-kit/http/request-ambiguity.ts";
import { GRAPHQL_PATH } from "./paths.ts";
import { createGraphqlHandler, isForPeople, type GraphqlHandlerOptions } from "./graphql-handler.ts";
import { loadRoutes, type RouteContext } from "./route.ts";
import type { SubscriptionProtocols } from "../subscriptions/protocols.ts";

export interface GatewayServerOptions
  extends RouteContext, Omit<GraphqlHandlerOptions, "crossSite" | keyof RouteContext> {
  host: string;
  port: number;
  /** The path of PUBLIC_URL, below which clients send requests; "" where there is none. */
  prefix: string;
  corsOrigins: readonly string[];
  allowedHosts: readonly string[];
  introspection: boolean;
  /** Takes over WebSocket upgrades of /graphql, and streams over HTTP. */
  protocols: Pick<SubscriptionProtocols, "handleUpgrade" | "handleOperation" | "handleStream">;
  logger: Logger;
}

export interface GatewayServer {
  /** Origin, as in `http://127.0.0.1:4000`. */
  url: string;
  port: number;
  /** Finishes running requests, then closes. */
  close(): Promise<void>;
}

declare module "fastify" {
  interface FastifyRequest {
    startedAt: number;
  }
}

/** Apollo Studio's origin; it needs introspection. */
const STUDIO_ORIGIN = "https://studio.apollographql.com";
/** How long a request may take to arrive in full: slower ones come from clients that send byte by byte. */
const RECEIVE_TIMEOUT_MS = 60_000;
/** Longer than the proxies in front keep theirs, so that they are the ones to close. */
const KEEP_ALIVE_MS = 72_000;

/** When the server ends: how long it goes on taking requests from clients that keep connections, … */
const FAREWELL_MS = 500;
/** … waits for a request of which a part has come, … */
const UNASKED_MS = 5_000;
/** … and for a client that does not read its answer. */
const UNREAD_MS = 10_000;

/** The gateway's HTTP side: /graphql, and the routes of `routes/`. */
export async function createGatewayServer(options: GatewayServerOptions): Promise<GatewayServer> {
  const { host, port, prefix, metrics, logger } = options;
  const { requestLog = noRequestLog } = options;
  const hosts = createHostPolicy({
    listenHost: host,
    origins: options.corsOrigins,
    hosts: options.allowedHosts,
    otherOrigins: options.introspection ? [STUDIO_ORIGIN] : [],
  });
  const crossSite = createCrossSitePolicy(hosts);
  const handleGraphql = createGraphqlHandler({ ...options, crossSite });
  // The gateway's own log lines say nearly all that Fastify's would.
  const baseLogger: FastifyBaseLogger = logger.child({}, { level: quieterThan(logger.level) });
  let isClosing = false;
  /** For each connection, the response to its latest request. */
  const latest = new WeakMap<Socket, ServerResponse>();
  const app = Fastify({
    // Nothing that it serves takes one.
    bodyLimit: 1_024,
    loggerInstance: baseLogger,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: (request) => requestIdOf(request),
    forceCloseConnections: "idle",
    // The graph's own requests do not pass through Fastify, which would take a good part of their time.
    serverFactory: (handleOther) =>
      createServer(
        {
          requestTimeout: RECEIVE_TIMEOUT_MS,
          keepAliveTimeout: KEEP_ALIVE_MS,
          // Other offers, such as the HTTP/2 of Java's clients, are ignored, as a server may: the request is answered as it is.
          shouldUpgradeCallback: ({ headers }) => headers.upgrade?.toLowerCase() === "websocket",
        },
        (request, response) => {
          latest.set(request.socket, response);
          if (isClosing) response.shouldKeepAlive = false;
          readTarget(request, prefix);
          const ambiguity = ambiguityOf(request.rawHeaders);
          if (ambiguity !== null) logRequest(request, response, refuseAmbiguous(request, response, ambiguity), 0);
          else if (isGraphql(request.url)) handleGraphql(request, response);
          else handleOther(request, response);
        },
      ),
  });
  app.decorateRequest("startedAt", 0);

  app.addHook("onRequest", async (request, reply) => {
    request.startedAt = performance.now();
    reply.header("x-request-id", request.id);
    crossSite.check(request.raw);
  });
  app.addHook("onResponse", async (request, reply) => {
    // The route's pattern, never the path that the caller typed.
    const endpoint = request.routeOptions.url ?? "unknown";
    metrics.httpRequest(request.method, endpoint, reply.statusCode, (performance.now() - request.startedAt) / 1000);
    if (request.routeOptions.config.isQuiet && reply.statusCode < 400) return;
    logRequest(request.raw, reply.raw, request.id, reply.elapsedTime);
  });
  await app.register(cors, {
    origin: (origin, callback) => callback(null, hosts.allowsOrigin(origin)),
    credentials: true,
    exposedHeaders: ["Mcp-Session-Id", "X-Request-Id"],
    maxAge: 600,
  });

  app.setErrorHandler((error, request, reply) => sendProblem(reply, request, toToolyardError(error), logger));
  app.setNotFoundHandler((request, reply) => {
    // A user who types the address without a path wants the page.
    if (request.url === "/" && options.page && isForPeople(request.headers.accept))
      return reply.redirect(prefix === "" ? GRAPHQL_PATH.slice(1) : prefix + GRAPHQL_PATH);
    const message = `There is nothing here. The graph is at ${prefix}${GRAPHQL_PATH}.`;
    return sendProblem(reply, request, new ToolyardError("NOT_FOUND", message), logger);
  });

  for (const route of await loadRoutes({ ...options, isClosing: () => isClosing })) app.route(route);

  const connections = new Set<Socket>();
  app.server.on("connection", (connection: Socket) => {
    connections.add(connection);
    connection.once("close", () => connections.delete(connection));
  });
  app.server.on("upgrade", (request, socket, head) => {
    readTarget(request, prefix);
    const path = (request.url ?? "").split("?", 1)[0];
    if (ambiguityOf(request.rawHeaders) !== null) {
      socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    } else if (
      path === GRAPHQL_PATH &&
      hosts.allowsHost(request.headers.host) &&
      hosts.allowsOrigin(request.headers.origin)
    ) {
      options.protocols.handleUpgrade(request, socket, head);
    } else {
      socket.end(
        `HTTP/1.1 ${path === GRAPHQL_PATH ? "403 Forbidden" : "404 Not Found"}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`,
      );
    }
  });

  const address = new URL(await app.listen({ host, port }));
  const listening = Number(address.port);
  return {
    url: address.origin,
    port: listening,
    async close() {
      const begunAt = performance.now();
      isClosing = true;
      // Clients may be sending on kept connections: they are told to open others, which by then go elsewhere.
      while (connections.size > 0 && performance.now() - begunAt < FAREWELL_MS) await delay(20);
      // A connection whose last answer is sent after this begins would otherwise stay until its client closes it.
      const sweep = setInterval(() => {
        app.server.closeIdleConnections();
        for (const connection of connections)
          if (performance.now() - begunAt > patienceMs(connection)) connection.destroy();
      }, 50);
      try {
        await app.close();
      } finally {
        clearInterval(sweep);
      }
    },
  };

  function logRequest(request: IncomingMessage, response: ServerResponse, requestId: string, durationMs: number): void {
    requestLog.write(
      {
        request_id: requestId,
        method: request.method,
        path: pathToLog(request.url),
        status: statusToLog(response),
        duration_ms: Math.round(durationMs * 100) / 100,
      },
      "request",
    );
  }

  /** How long a connection may delay the end. */
  function patienceMs(connection: Socket): number {
    // Node does not count connections without any request as idle; browsers and pools open them in advance.
    if (connection.bytesRead === 0) return FAREWELL_MS;
    const response = latest.get(connection);
    const isAsking = !response || response.writableFinished || !response.req.complete;
    if (isAsking) return UNASKED_MS;
    return response.writableEnded ? UNREAD_MS : Infinity;
  }
}

/** Has the request name its path and query as this server does. */
function readTarget(request: IncomingMessage, prefix: string): void {
  const { url = "" } = request;
  const whole = /^https?:\/\//i.test(url) ? URL.parse(url) : null;
  // Clients that take this server for a proxy send the whole URL: its host counts, whatever Host says (RFC 9112, section 3.2.2).
  if (whole) request.headers.host = whole.host;
  request.url = withoutPrefix(whole ? whole.pathname + whole.search : url, prefix);
}

/** A request that two parts of a chain could read differently is refused, and ends the connection. @returns the request's id */
function refuseAmbiguous(request: IncomingMessage, response: ServerResponse, ambiguity: string): string {
  const problem = problemDetails(
    new ToolyardError("BAD_USER_INPUT", `The request is ambiguous: ${ambiguity}.`),
    requestIdOf(request),
  );
  const text = JSON.stringify({ ...problem, status: 400 });
  response.writeHead(400, {
    "content-type": "application/problem+json",
    "content-length": Buffer.byteLength(text),
    connection: "close",
  });
  response.end(text);
  return problem.request_id;
}

/** Whether a request is the graph's: /graphql and the paths below it. */
function isGraphql(url = ""): boolean {
  if (!url.startsWith(GRAPHQL_PATH)) return false;
  const next = url[GRAPHQL_PATH.length];
  return next === undefined || next === "?" || next === "/";
}

function sendProblem(reply: FastifyReply, request: FastifyRequest, error: unknown, logger: Logger): FastifyReply {
  const problem = problemDetails(error, request.id);
  if (problem.status >= 500) logger.error({ err: error, request_id: request.id }, publicMessage(error));
  // RFC 6750 and RFC 9728: how to authenticate.
  if (problem.status === 401) reply.header("www-authenticate", 'Bearer realm="toolyard"');
  return reply.code(problem.status).header("content-type", "application/problem+json").send(JSON.stringify(problem));
}

/** `warn`, or a quieter level. */
function quieterThan(level: string): string {
  return ["error", "fatal", "silent"].includes(level) ? level : "warn";
}

/** Fastify's own errors (body too large, malformed JSON, …) in the project's codes. */
function toToolyardError(error: unknown): unknown {
  if (error instanceof ToolyardError || !(error instanceof Error) || !("statusCode" in error)) return error;
  if (error.statusCode === 413) return new ToolyardError("PAYLOAD_TOO_LARGE", error.message, { cause: error });
  const clientFault = typeof error.statusCode === "number" && error.statusCode >= 400 && error.statusCode < 500;
  return clientFault ? new ToolyardError("BAD_USER_INPUT", error.message, { cause: error }) : error;
}
