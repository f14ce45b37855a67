import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { finished } from "node:stream/promises";
import { ApolloServer, HeaderMap, type GraphQLRequestContextWillSendResponse } from "@apollo/server";
import { unwrapResolverError } from "@apollo/server/errors";
import { ApolloServerPluginLandingPageLocalDefault } from "@apollo/server/plugin/landingPage/default";
import { ApolloServerPluginLandingPageDisabled } from "@apollo/server/plugin/disabled";
import type { GatewayInterface } from "@apollo/server-gateway-interface";
import cors from "@fastify/cors";
import { fastifyApolloDrainPlugin, fastifyApolloHandler } from "@as-integrations/fastify";
import {
  CALLER_HEADER,
  ToolyardError,
  isPublic,
  problemDetails,
  publicMessage,
  requestIdOf,
  type Caller,
  type Logger,
} from "@toolyard/service-kit";
import Fastify, {
  LogController,
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
} from "fastify";
import type { ExecutionResult, GraphQLFormattedError } from "graphql";
import type { JSONWebKeySet } from "jose";
import { z } from "zod";
import type { Authenticator } from "./authentication.ts";
import { STUDIO_ORIGIN, createHostPolicy } from "./hosts.ts";
import type { HealthReport } from "./health.ts";
import type { GatewayMetrics } from "./metrics.ts";
import type { OperationContext } from "./execution/subgraph-client.ts";

const MAX_BODY_BYTES = 10 * 1024 * 1024;

export interface GatewayServerOptions {
  host: string;
  port: number;
  corsOrigins: readonly string[];
  allowedHosts: readonly string[];
  introspection: boolean;
  /** Apollo Server's view of the executor: the public schema. */
  gateway: GatewayInterface;
  /** For service principals, who see internal fields: past Apollo Server, straight to the executor. */
  executeInternal: (request: {
    query: string;
    operationName: string | null;
    variables: Record<string, unknown>;
    context: OperationContext;
    signal: AbortSignal;
  }) => Promise<ExecutionResult>;
  /** Takes over WebSocket upgrades of /graphql. */
  handleUpgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void;
  authenticator: Authenticator;
  health: () => Promise<HealthReport>;
  metrics: GatewayMetrics;
  jwks: () => Promise<JSONWebKeySet>;
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
    caller: Caller | null;
    startedAt: number;
  }
}

const graphqlBody = z.object({
  query: z.string(),
  operationName: z.string().nullish(),
  variables: z.record(z.string(), z.unknown()).nullish(),
});

/** The gateway's HTTP side: /graphql, health, metrics and the well-known documents. */
export async function createGatewayServer(options: GatewayServerOptions): Promise<GatewayServer> {
  const { host, port, authenticator, metrics, logger } = options;
  const policy = createHostPolicy({ listenHost: host, origins: options.corsOrigins, hosts: options.allowedHosts });
  const allowsOrigin = (origin: string | undefined) =>
    policy.allowsOrigin(origin) || (options.introspection && origin === STUDIO_ORIGIN);
  // Fastify says little that the gateway does not say better.
  const baseLogger: FastifyBaseLogger = logger.child({}, { level: quieterThan(logger.level) });
  const app = Fastify({
    bodyLimit: MAX_BODY_BYTES,
    loggerInstance: baseLogger,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: (request) => requestIdOf(request),
    forceCloseConnections: "idle",
    requestTimeout: 60_000,
  });
  app.decorateRequest("caller", null);
  app.decorateRequest("startedAt", 0);

  app.addHook("onRequest", async (request, reply) => {
    request.startedAt = performance.now();
    reply.header("x-request-id", request.id);
    if (!policy.allowsHost(request.headers.host)) {
      throw new ToolyardError(
        "FORBIDDEN",
        "This host name is not served here. Add it to ALLOWED_HOSTS if it should be.",
      );
    }
    if (!allowsOrigin(request.headers.origin)) {
      throw new ToolyardError("FORBIDDEN", "Pages of this origin may not call. Add it to CORS_ORIGINS if they should.");
    }
  });
  app.addHook("onResponse", async (request, reply) => {
    // The route's pattern, never the path that the caller typed.
    const endpoint = request.routeOptions.url ?? "unknown";
    metrics.httpRequest(request.method, endpoint, reply.statusCode, (performance.now() - request.startedAt) / 1000);
    logger.debug(
      {
        request_id: request.id,
        user_id: request.caller?.userId,
        method: request.method,
        endpoint,
        status: reply.statusCode,
        duration_ms: Math.round(reply.elapsedTime),
      },
      "request",
    );
  });
  await app.register(cors, {
    origin: (origin, callback) => callback(null, allowsOrigin(origin)),
    credentials: true,
    exposedHeaders: ["Mcp-Session-Id", "X-Request-Id"],
    maxAge: 600,
  });

  app.setErrorHandler(async (error, request, reply) => {
    const known = toToolyardError(error);
    // Answered while the client still sends, a connection is reset before the client has read why.
    if (known instanceof ToolyardError && known.code === "PAYLOAD_TOO_LARGE") await discardBody(request.raw);
    return sendProblem(reply, request, known, options);
  });
  app.setNotFoundHandler((request, reply) =>
    sendProblem(
      reply,
      request,
      new ToolyardError("NOT_FOUND", "There is nothing here. The graph is at /graphql."),
      options,
    ),
  );

  const apollo = await startApollo(app, options);
  const handleApollo = fastifyApolloHandler(apollo, {
    context: async (request): Promise<OperationContext> => operationContext(request),
  });

  app.route({
    method: ["GET", "POST"],
    url: "/graphql",
    async handler(request, reply) {
      try {
        request.caller = await callerOf(request, authenticator);
      } catch (error) {
        return sendGraphqlError(reply, request, error, options);
      }
      return request.caller.kind === "service"
        ? handleInternal(request, reply, options)
        : handleApollo.call(app, request, reply);
    },
  });
  app.get("/health", async (_request, reply) => {
    const report = await options.health();
    return reply
      .code(report.status === "unhealthy" ? 503 : 200)
      .header("cache-control", "no-store")
      .send(report);
  });
  app.get("/health/live", async () => ({ status: "live" }));
  app.get("/health/ready", async (_request, reply) => {
    const { status } = await options.health();
    return reply
      .code(status === "unhealthy" ? 503 : 200)
      .send({ status: status === "unhealthy" ? "not ready" : "ready" });
  });
  app.get("/metrics", async (request, reply) => {
    const { remoteAddress = "" } = request.socket;
    if (!["127.0.0.1", "::1", "::ffff:127.0.0.1"].includes(remoteAddress))
      (await callerOf(request, authenticator)).require("user:admin");
    return reply.header("content-type", metrics.registry.contentType).send(await metrics.registry.metrics());
  });
  app.get("/.well-known/jwks.json", async (_request, reply) =>
    reply.header("cache-control", "public, max-age=300").send(await options.jwks()),
  );

  app.server.on("upgrade", (request, socket, head) => {
    const path = (request.url ?? "").split("?", 1)[0];
    if (path === "/graphql" && policy.allowsHost(request.headers.host) && allowsOrigin(request.headers.origin)) {
      options.handleUpgrade(request, socket, head);
    } else {
      socket.end(
        `HTTP/1.1 ${path === "/graphql" ? "403 Forbidden" : "404 Not Found"}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`,
      );
    }
  });

  const address = new URL(await app.listen({ host, port }));
  const listening = Number(address.port);
  return {
    url: address.origin,
    port: listening,
    async close() {
      await apollo.stop();
      await app.close();
    },
  };
}

async function startApollo(
  app: FastifyInstance,
  options: GatewayServerOptions,
): Promise<ApolloServer<OperationContext>> {
  const { gateway, introspection, logger, metrics } = options;
  const apollo = new ApolloServer<OperationContext>({
    gateway,
    introspection,
    csrfPrevention: true,
    status400ForVariableCoercionErrors: false,
    cache: "bounded",
    stopOnTerminationSignals: false,
    includeStacktraceInErrorResponses: false,
    logger,
    formatError: (formatted) => formatted,
    plugins: [
      fastifyApolloDrainPlugin(app),
      introspection
        ? ApolloServerPluginLandingPageLocalDefault({ footer: false, includeCookies: false })
        : ApolloServerPluginLandingPageDisabled(),
      {
        requestDidStart: async () => ({
          didEncounterErrors: async ({ errors, contextValue }) => {
            for (const error of errors) {
              const cause = unwrapResolverError(error);
              if (isPublic(cause) || typeof error.extensions.code === "string") continue;
              logger.error({ err: cause, request_id: contextValue.requestId }, "an operation failed");
            }
          },
          willSendResponse: async (context) => {
            const { body } = context.response;
            const failed = body.kind === "single" && body.singleResult.errors !== undefined;
            metrics.graphqlOperation(context.operation?.operation ?? "unknown", failed ? "error" : "ok");
            addRequestIds(context);
          },
        }),
      },
    ],
  });
  await apollo.start();
  return apollo;
}

/** Every error carries the request's id, under which the log has more. */
function addRequestIds({ response, contextValue }: GraphQLRequestContextWillSendResponse<OperationContext>): void {
  if (response.body.kind !== "single" || !response.body.singleResult.errors) return;
  response.body.singleResult.errors = response.body.singleResult.errors.map((error) => ({
    ...error,
    extensions: { ...error.extensions, requestId: contextValue.requestId },
  }));
  response.http.headers ??= new HeaderMap();
}

function operationContext(request: FastifyRequest): OperationContext {
  if (!request.caller) throw new Error("The request was not authenticated.");
  const { traceparent } = request.headers;
  return {
    caller: request.caller,
    requestId: request.id,
    clientAddress: request.ip,
    ...(typeof traceparent === "string" && { traceparent }),
  };
}

async function callerOf(request: FastifyRequest, authenticator: Authenticator): Promise<Caller> {
  const signed = request.headers[CALLER_HEADER];
  return typeof signed === "string"
    ? authenticator.authenticateHeader(signed)
    : authenticator.authenticate(request.headers.authorization);
}

async function handleInternal(
  request: FastifyRequest,
  reply: FastifyReply,
  options: GatewayServerOptions,
): Promise<unknown> {
  const body = graphqlBody.safeParse(request.body);
  if (!body.success) {
    return sendGraphqlError(
      reply,
      request,
      new ToolyardError("BAD_USER_INPUT", "The body is not a GraphQL request: send JSON with a `query`."),
      options,
    );
  }
  const abort = new AbortController();
  const onClose = () => abort.abort();
  reply.raw.once("close", onClose);
  try {
    const result = await options.executeInternal({
      query: body.data.query,
      operationName: body.data.operationName ?? null,
      variables: body.data.variables ?? {},
      context: operationContext(request),
      signal: abort.signal,
    });
    return await reply.send(result);
  } finally {
    reply.raw.off("close", onClose);
  }
}

/** An error before GraphQL began, in GraphQL's shape and with HTTP's status. */
function sendGraphqlError(
  reply: FastifyReply,
  request: FastifyRequest,
  error: unknown,
  options: GatewayServerOptions,
): FastifyReply {
  const problem = problemDetails(error, request.id);
  if (problem.status >= 500) options.logger.error({ err: error, request_id: request.id }, "a request failed");
  challenge(reply, problem.status);
  // GraphQL over HTTP has 400 for what is no GraphQL request.
  const status = problem.code === "BAD_USER_INPUT" ? 400 : problem.status;
  const formatted: GraphQLFormattedError = {
    message: problem.detail,
    extensions: { code: problem.code, requestId: request.id },
  };
  return reply.code(status).send({ errors: [formatted] });
}

function sendProblem(
  reply: FastifyReply,
  request: FastifyRequest,
  error: unknown,
  options: GatewayServerOptions,
): FastifyReply {
  if (request.routeOptions.url === "/graphql") return sendGraphqlError(reply, request, error, options);
  const problem = problemDetails(error, request.id);
  if (problem.status >= 500) options.logger.error({ err: error, request_id: request.id }, publicMessage(error));
  challenge(reply, problem.status);
  return reply.code(problem.status).header("content-type", "application/problem+json").send(JSON.stringify(problem));
}

/** RFC 6750 and RFC 9728: how to get in. */
function challenge(reply: FastifyReply, status: number): void {
  if (status === 401) reply.header("www-authenticate", 'Bearer realm="toolyard"');
}

/** Reads on for a bounded while, so that a client that sends too much gets to read the answer. */
async function discardBody(request: IncomingMessage): Promise<void> {
  let left = 8 * MAX_BODY_BYTES;
  request.on("data", (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) request.destroy();
  });
  request.resume();
  // Ended, broken off or too slow: the answer is sent, or cannot be.
  await finished(request, { writable: false, signal: AbortSignal.timeout(10_000) }).catch(() => undefined);
}

/** `warn`, or what is quieter still. */
function quieterThan(level: string): string {
  return ["error", "fatal", "silent"].includes(level) ? level : "warn";
}

/** Fastify's own errors (body too large, malformed JSON, …) in the project's codes. */
function toToolyardError(error: unknown): unknown {
  if (error instanceof ToolyardError || !(error instanceof Error) || !("statusCode" in error)) return error;
  if (error.statusCode === 413)
    return new ToolyardError("PAYLOAD_TOO_LARGE", `The body is larger than ${MAX_BODY_BYTES / 1024 / 1024} MiB.`, {
      cause: error,
    });
  const clientFault = typeof error.statusCode === "number" && error.statusCode >= 400 && error.statusCode < 500;
  return clientFault ? new ToolyardError("BAD_USER_INPUT", error.message, { cause: error }) : error;
}
