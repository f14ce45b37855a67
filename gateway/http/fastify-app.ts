import { STATUS_CODES, maxHeaderSize, type OutgoingHttpHeaders, type RequestListener, type Server } from "node:http";
import {
  ToolyardError,
  messageOf,
  newId,
  publicMessage,
  requestIdOf,
  type Caller,
  type Logger,
} from "@toolyard/service-kit";
import type { CrossSitePolicy } from "@toolyard/service-kit/http/cross-site.ts";
import { securityHeaders } from "@toolyard/service-kit/http/security-headers.ts";
import Fastify, {
  LogController,
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
} from "fastify";
import { nothingHere } from "./paths.ts";
import type { GatewayMetrics } from "../observability/metrics.ts";
import { methodRefusal, pathOf, type DirectRoute } from "./direct-routes.ts";
import type { LogOfRequests } from "./log-of-requests.ts";
import { HttpRefusal, problemAnswer } from "./problem.ts";

declare module "fastify" {
  interface FastifyRequest {
    startedAt: number;
    /** Set by a route once it is known, for the request's line in the log. */
    caller: Caller | null;
  }
}

/** Routes say so where they take more. */
const BODY_LIMIT = 1_024;
/** The longest that a request line can be: over-long ids and names are answered NOT_FOUND by the service that looks for them. */
const MAX_PARAMETER_LENGTH = maxHeaderSize;

export interface FastifyApp {
  app: FastifyInstance;
  /** Once all routes are there: the other methods of their URLs are answered 405, and OPTIONS as CORS needs it. */
  answerOtherMethods(): void;
}

/** What all routes in Fastify have in common: Host and CORS, methods that are not theirs, errors, metrics and the log. */
export function createFastifyApp(options: {
  createServer: (handle: RequestListener) => Server;
  addDirect: (route: DirectRoute) => void;
  crossSite: CrossSitePolicy;
  /** Of every answer. */
  security?: OutgoingHttpHeaders;
  prefix: string;
  hasRest: boolean;
  metrics: Pick<GatewayMetrics, "httpRequest">;
  log: LogOfRequests;
  logger: Logger;
}): FastifyApp {
  const {
    createServer,
    addDirect,
    crossSite,
    security = securityHeaders(null),
    prefix,
    hasRest,
    metrics,
    log,
    logger,
  } = options;
  // The gateway's own log lines say nearly all that Fastify's would.
  const loggerInstance: FastifyBaseLogger = logger.child({}, { level: quieterThan(logger.level) });
  const app = Fastify({
    bodyLimit: BODY_LIMIT,
    loggerInstance,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: (request) => requestIdOf(request),
    forceCloseConnections: "idle",
    // Programs and people write a path with and without a slash at its end.
    routerOptions: { maxParamLength: MAX_PARAMETER_LENGTH, ignoreTrailingSlash: true },
    serverFactory: createServer,
    rewriteUrl: ({ url = "/" }) => routable(url),
    clientErrorHandler(error, socket) {
      logger.debug({ reason: messageOf(error) }, "a client does not speak HTTP");
      if (error.code !== "ECONNRESET" && socket.writable) socket.write(refusalOfUnreadable(error.code, security));
      socket.destroySoon();
    },
  });
  app.decorate("direct", addDirect);
  app.decorateRequest("startedAt", 0);
  app.decorateRequest("caller", null);

  app.addHook("onRequest", async (request, reply) => {
    request.startedAt = performance.now();
    reply.headers({ ...security, "x-request-id": request.id, ...crossSite.headersFor(request.raw) });
    crossSite.check(request.raw);
  });
  app.addHook("onResponse", async (request, reply) => {
    // The route's pattern, never the path that the caller typed.
    const endpoint = request.routeOptions.url ?? "unknown";
    metrics.httpRequest(request.method, endpoint, reply.statusCode, (performance.now() - request.startedAt) / 1000);
    if (request.routeOptions.config.isQuiet && reply.statusCode < 400) return;
    const { raw, id: requestId, caller } = request;
    log({ request: raw, response: reply.raw, requestId, caller, describe: null }, reply.elapsedTime);
  });
  app.setErrorHandler((error, request, reply) => {
    const { status, headers, body } = problemAnswer(toToolyardError(error), request.id);
    if (status >= 500) logger.error({ err: error, request_id: request.id }, publicMessage(error));
    return reply.code(status).headers(headers).send(body);
  });
  app.setNotFoundHandler((request) => {
    throw nothingHere(request.url, { prefix, hasRest });
  });

  /** The methods of each URL that has a route. */
  const methods = new Map<string, Set<string>>();
  app.addHook("onRoute", ({ url, method }) => {
    const known = methods.get(url) ?? new Set();
    for (const each of [method].flat()) known.add(each);
    methods.set(url, known);
  });

  return {
    app,
    answerOtherMethods() {
      // Copied: the routes added here are told of, too.
      for (const [url, known] of [...methods].map(([url, set]) => [url, [...set]] as const)) {
        const allow = [...known, "OPTIONS"].join(", ");
        const others = app.supportedMethods.filter((method) => !known.includes(method) && method !== "OPTIONS");
        const refuse = async (request: FastifyRequest, reply: FastifyReply) => {
          reply.header("allow", allow);
          throw methodRefusal(request.method, known);
        };
        // Before a body is read.
        app.route({ url, method: others, onRequest: refuse, handler: refuse });
        if (!known.includes("OPTIONS"))
          app.options(url, (request, reply) =>
            reply
              .code(204)
              .headers({ ...crossSite.preflightHeaders(request.raw), allow })
              .send(),
          );
      }
      // Browsers show a page the answer of a URL that is nobody's only when they may ask for it.
      app.options("*", (request, reply) => reply.code(204).headers(crossSite.preflightHeaders(request.raw)).send());
    },
  };
}

/** The router takes no path that does not decode, before any hook: the texts in such a one stand for themselves, and name nothing. */
function routable(url: string): string {
  const path = pathOf(url);
  try {
    decodeURIComponent(path);
    return url;
  } catch {
    return path.replaceAll("%", "%25") + url.slice(path.length);
  }
}

/** The whole answer to bytes that are no request. @param code Of Node's error */
function refusalOfUnreadable(code: string | undefined, security: Readonly<OutgoingHttpHeaders>): string {
  const refusal =
    code === "HPE_HEADER_OVERFLOW"
      ? new HttpRefusal(431, `The request's headers are larger than ${maxHeaderSize} bytes.`)
      : code === "ERR_HTTP_REQUEST_TIMEOUT"
        ? new HttpRefusal(408, "The request did not arrive in time.")
        : new HttpRefusal(400, "This is not a request that HTTP allows.");
  const { status, headers, body } = problemAnswer(refusal, newId());
  const head = Object.entries({ ...security, ...headers, connection: "close" }).map(
    ([name, value]) => `${name}: ${String(value)}`,
  );
  return [`HTTP/1.1 ${status} ${STATUS_CODES[status]}`, ...head, "", body].join("\r\n");
}

/** `warn`, or a quieter level. */
function quieterThan(level: string): string {
  return ["error", "fatal", "silent"].includes(level) ? level : "warn";
}

/** Fastify's own errors (body too large, malformed JSON, …) in the project's codes. */
function toToolyardError(error: unknown): unknown {
  if (error instanceof ToolyardError || !(error instanceof Error) || !("statusCode" in error)) return error;
  if (error.statusCode === 413) return new ToolyardError("PAYLOAD_TOO_LARGE", error.message, { cause: error });
  if (error.statusCode === 415) return new HttpRefusal(415, error.message);
  const clientFault = typeof error.statusCode === "number" && error.statusCode >= 400 && error.statusCode < 500;
  return clientFault ? new ToolyardError("BAD_USER_INPUT", error.message, { cause: error }) : error;
}
