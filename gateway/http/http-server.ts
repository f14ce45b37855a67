import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { requestIdOf } from "@toolyard/service-kit";
import { createCrossSitePolicy } from "@toolyard/service-kit/http/cross-site.ts";
import { createHttpDrain } from "@toolyard/service-kit/http/http-drain.ts";
import { createHostPolicy } from "@toolyard/service-kit/http/hosts.ts";
import { whereToListen } from "@toolyard/service-kit/process/listening-socket.ts";
import { securityHeaders } from "@toolyard/service-kit/http/security-headers.ts";
import { ambiguityOf } from "@toolyard/service-kit/http/request-ambiguity.ts";
import { readTarget } from "@toolyard/service-kit/http/request-target.ts";
import type { RequestLog } from "@toolyard/service-kit/http/request-log.ts";
import type { Tracing } from "../observability/tracing.ts";
import { createBodyReader } from "./body-reader.ts";
import { createDirectRoutes, pathOf } from "./direct-routes.ts";
import { createFastifyApp } from "./fastify-app.ts";
import { createLogOfRequests } from "./log-of-requests.ts";
import { HttpRefusal, problemAnswer } from "./problem.ts";
import { loadRoutes, type RouteContext } from "./route.ts";

export interface GatewayServerOptions extends Omit<RouteContext, "bodies" | "describers" | "isClosing"> {
  /** Records requests; null: nothing is recorded. */
  tracing: Pick<Tracing, "request"> | null;
  requestLog: RequestLog;
  /** Aborts when no more requests are to be sent here, which is before the server closes. */
  draining: AbortSignal;
}

export interface GatewayServer {
  /** Origin, as in `http://127.0.0.1:4000`. */
  url: string;
  port: number;
  /** Finishes running requests, then closes. */
  close(): Promise<void>;
}

/** Apollo Studio's origin; it needs introspection. */
const STUDIO_ORIGIN = "https://studio.apollographql.com";
/** How long a request may take to arrive in full: slower ones come from clients that send byte by byte. */
const RECEIVE_TIMEOUT_MS = 60_000;
/** Longer than the proxies in front keep theirs, so that they are the ones to close. */
const KEEP_ALIVE_MS = 72_000;

/** The gateway's HTTP side: /graphql, and the routes of `routes/`. */
export async function createGatewayServer(options: GatewayServerOptions): Promise<GatewayServer> {
  const { config, prefix, metrics, tracing, logger, draining } = options;
  const hosts = createHostPolicy({
    listenHost: config.host,
    origins: config.corsOrigins,
    hosts: config.allowedHosts,
    otherOrigins: config.introspection ? [STUDIO_ORIGIN] : [],
  });
  const crossSite = createCrossSitePolicy(hosts);
  const security = securityHeaders(config.publicUrl);
  const log = createLogOfRequests(options.requestLog);
  const direct = createDirectRoutes({ crossSite, security, metrics, tracing, log, logger });
  let isClosing = false;
  const { app, answerOtherMethods } = createFastifyApp({
    createServer: (handleOther) =>
      createServer(
        {
          requestTimeout: RECEIVE_TIMEOUT_MS,
          keepAliveTimeout: KEEP_ALIVE_MS,
          // Other offers, such as the HTTP/2 of Java's clients, are ignored, as a server may: the request is answered as it is.
          shouldUpgradeCallback: ({ headers, url }) =>
            headers.upgrade?.toLowerCase() === "websocket" &&
            direct.find(pathOf(readTarget(url ?? "", prefix).url))?.upgrade !== undefined,
        },
        (request, response) => {
          normalize(request, prefix);
          const ambiguity = ambiguityOf(request.rawHeaders);
          if (ambiguity !== null) refuseAmbiguous(request, response, ambiguity);
          else if (!direct.serve(request, response)) handleOther(request, response);
        },
      ),
    addDirect: direct.add,
    crossSite,
    security,
    prefix,
    hasRest: options.jwks !== null,
    metrics,
    log,
    logger,
  });
  await loadRoutes(app, {
    ...options,
    bodies: createBodyReader(config.protection),
    isClosing: () => isClosing || draining.aborted,
  });
  answerOtherMethods();

  const drain = createHttpDrain(app.server, draining);
  app.server.on("upgrade", (request, socket, head) => {
    normalize(request, prefix);
    const refuse = (status: string) =>
      socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
    const route = direct.find(pathOf(request.url));
    const { host, origin } = request.headers;
    if (ambiguityOf(request.rawHeaders) !== null) refuse("400 Bad Request");
    else if (!hosts.allowsHost(host) || !hosts.allowsOrigin(origin)) refuse("403 Forbidden");
    else if (route?.upgrade) route.upgrade(request, socket, head);
    else refuse("404 Not Found");
  });

  // Of a socket that it inherits Fastify would open more, were the host not named.
  const where = { host: "inherited", ...whereToListen(config) };
  const address = new URL(await app.listen(where));
  const listening = Number(address.port);
  return {
    url: address.origin,
    port: listening,
    async close() {
      isClosing = true;
      await drain.leave();
      const closed = app.close();
      await drain.end();
      await closed;
    },
  };

  /** Two parts of a chain could read it differently: it is refused, and ends the connection. */
  function refuseAmbiguous(request: IncomingMessage, response: ServerResponse, ambiguity: string): void {
    const requestId = requestIdOf(request);
    const refusal = new HttpRefusal(400, `The request is ambiguous: ${ambiguity}.`);
    const { status, headers, body } = problemAnswer(refusal, requestId);
    response.writeHead(status, { ...security, ...headers, connection: "close" }).end(body);
    log({ request, response, requestId, caller: null, describe: null }, 0);
  }
}

/** Has the request name its path and query as this server does. */
function normalize(request: IncomingMessage, prefix: string): void {
  const { host, url } = readTarget(request.url ?? "", prefix);
  if (host !== null) request.headers.host = host;
  request.url = url;
}
