import { randomUUID } from "node:crypto";
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { ToolyardError, publicMessage, requestIdOf, type Caller, type Logger } from "@toolyard/service-kit";
import type { CrossSitePolicy } from "@toolyard/service-kit/http/cross-site.ts";
import { securityHeaders } from "@toolyard/service-kit/http/security-headers.ts";
import type { RequestLog } from "@toolyard/service-kit/http/request-log.ts";
import { createLightAbort, type LightAbort } from "@toolyard/service-kit/process/light-abort.ts";
import type { GatewayMetrics } from "../observability/metrics.ts";
import type { Tracing } from "../observability/tracing.ts";
import type { LogOfRequests } from "./log-of-requests.ts";
import { HttpRefusal, problemAnswer } from "./problem.ts";

/** One request of a direct route. */
export interface RouteExchange {
  request: IncomingMessage;
  response: ServerResponse;
  /** Without the query. */
  path: string;
  requestId: string;
  /** For the answer, whoever writes its head: the request's id and what CORS needs. */
  headers: OutgoingHttpHeaders;
  /** Set by the route once it is known. */
  caller: Caller | null;
  /** Further fields of the request's line in the log, asked for at the end. */
  describe: (() => Parameters<RequestLog["write"]>[0]) | null;
  /** Aborted when the connection or the answer has ended: nobody waits any more. */
  gone: LightAbort;
}

/**
 * A route straight on Node's server, for which nothing is read, parsed or written: for streams in either direction, sockets, and
 * wherever Fastify's time for each request counts. Its requests are traced, counted and logged as all others.
 */
export interface DirectRoute {
  /** A path, which may be asked for with a slash at its end as well. With `/*` at its end: the path before that, and all below it that have no closer route. */
  url: string;
  /** Other methods are answered 405, and OPTIONS as CORS needs it. All methods are the route's own unless given. */
  methods?: readonly string[];
  /** Whether another server answers, which checks Host and Origin and has CORS headers itself. */
  isPassedOn?: boolean;
  /** Answers. Before it is called, unless it is passed on, the request's Host and Origin were found good, and nobody was authenticated. */
  handle(exchange: RouteExchange): Promise<void> | void;
  /** Answers an error that `handle` threw, or a refusal from before; with problem+json unless given. */
  fail?(exchange: RouteExchange, error: unknown): void;
  /** Takes over a WebSocket. Unless given, the request is an ordinary one: what it offers is ignored, as HTTP has it. */
  upgrade?(request: IncomingMessage, socket: Duplex, head: Buffer): void;
}

export interface DirectRoutes {
  /** @throws Error when its URL is another route's */
  add(route: DirectRoute): void;
  find(path: string): DirectRoute | null;
  /** Has a request's route answer it. @returns false, with nothing done, where it has none */
  serve(request: IncomingMessage, response: ServerResponse): boolean;
}

export function createDirectRoutes(options: {
  crossSite: CrossSitePolicy;
  /** Of every answer that does not come from the proxy. */
  security?: OutgoingHttpHeaders;
  metrics: Pick<GatewayMetrics, "httpRequest">;
  /** Records requests; null: nothing is recorded. */
  tracing: Pick<Tracing, "request"> | null;
  log: LogOfRequests;
  logger: Pick<Logger, "error">;
}): DirectRoutes {
  const { crossSite, security = securityHeaders(null), metrics, tracing, log, logger } = options;
  const paths = new Map<string, DirectRoute>();
  /** The routes with `/*`, the longest first. */
  const prefixes: { prefix: string; route: DirectRoute }[] = [];

  function find(path: string): DirectRoute | null {
    // As in Fastify's router.
    const exact = paths.get(path) ?? (path.endsWith("/") ? paths.get(path.slice(0, -1)) : undefined);
    if (exact) return exact;
    for (const { prefix, route } of prefixes)
      if (path.startsWith(prefix) && (path.length === prefix.length || path[prefix.length] === "/")) return route;
    return null;
  }

  function pass({ methods, isPassedOn, handle }: DirectRoute, exchange: RouteExchange): Promise<void> | void {
    const { request, response, headers } = exchange;
    if (isPassedOn) return handle(exchange);
    crossSite.check(request);
    Object.assign(exchange.headers, crossSite.headersFor(request));
    if (!methods || methods.includes(request.method ?? "")) return handle(exchange);
    headers["allow"] = [...methods, "OPTIONS"].join(", ");
    if (request.method !== "OPTIONS") throw methodRefusal(request.method, methods);
    response.writeHead(204, { ...headers, ...crossSite.preflightHeaders(request) }).end();
  }

  function fail(route: DirectRoute, exchange: RouteExchange, error: unknown): void {
    const { response, requestId } = exchange;
    if (response.headersSent || response.destroyed) {
      response.destroy();
      return;
    }
    if (route.fail) return route.fail(exchange, error);
    if (route.isPassedOn) Object.assign(exchange.headers, crossSite.headersFor(exchange.request));
    const { status, headers, body } = problemAnswer(error, requestId);
    if (status >= 500) logger.error({ err: error, request_id: requestId }, publicMessage(error));
    response.writeHead(status, { ...exchange.headers, ...headers }).end(body);
  }

  return {
    add(route) {
      const { url } = route;
      const known = [...paths.keys(), ...prefixes.map(({ prefix }) => `${prefix}/*`)];
      if (known.includes(url)) throw new Error(`Two routes of the gateway have the URL ${url}.`);
      if (!url.endsWith("/*")) paths.set(url, route);
      else prefixes.push({ prefix: url.slice(0, -"/*".length), route });
      prefixes.sort((one, other) => other.prefix.length - one.prefix.length);
    },
    find,
    serve(request, response) {
      const path = pathOf(request.url);
      const route = find(path);
      if (!route) return false;
      const startedAt = performance.now();
      // Node keeps random bytes at hand for this kind of id; requestIdOf makes one that sorts by time, which costs more than it is worth here.
      const requestId = request.headers["x-request-id"] === undefined ? randomUUID() : requestIdOf(request);
      const exchange: RouteExchange = {
        request,
        response,
        path,
        requestId,
        headers: { ...security, "x-request-id": requestId },
        caller: null,
        describe: null,
        gone: createLightAbort(),
      };
      const span = tracing?.request(request, startedAt, route.url);
      response.once("close", () => {
        exchange.gone.abort(new ToolyardError("UPSTREAM_UNAVAILABLE", "The client went away."));
        span?.end(response.headersSent ? response.statusCode : null);
        const durationMs = performance.now() - startedAt;
        metrics.httpRequest(request.method ?? "", route.url, response.statusCode, durationMs / 1_000);
        log(exchange, durationMs);
      });
      try {
        pass(route, exchange)?.catch((error: unknown) => fail(route, exchange, error));
      } catch (error) {
        fail(route, exchange, error);
      }
      return true;
    },
  };
}

/** A request's path without its query. */
export function pathOf(url = ""): string {
  const queryAt = url.indexOf("?");
  return queryAt < 0 ? url : url.slice(0, queryAt);
}

export function methodRefusal(method: string | undefined, allowed: readonly string[]): HttpRefusal {
  return new HttpRefusal(405, `${method ?? "This method"} is not possible here: send ${allowed.join(" or ")}.`);
}
