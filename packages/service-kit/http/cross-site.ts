import type { IncomingMessage, OutgoingHttpHeaders } from "node:http";
import { ToolyardError } from "../errors/errors.ts";
import type { HostPolicy } from "./hosts.ts";

/** Who may call from where: the Host, CORS, and the refusal of calls that other sites' pages make a visitor's browser send. */
export interface CrossSitePolicy {
  /** @throws ToolyardError FORBIDDEN */
  check(request: IncomingMessage): void;
  /** The CORS headers of an answer; none for requests that do not come from a page. */
  headersFor(request: IncomingMessage): OutgoingHttpHeaders;
  /** The answer's headers to a preflight. */
  preflightHeaders(request: IncomingMessage): OutgoingHttpHeaders;
}

const MAX_AGE_SECONDS = 600;
/** What pages of other origins may read of answers. */
const EXPOSED_HEADERS = [
  "ETag",
  "Idempotency-Replayed",
  "Location",
  "Mcp-Session-Id",
  "RateLimit",
  "RateLimit-Policy",
  "Retry-After",
  "WWW-Authenticate",
  "X-Request-Id",
].join(", ");

/**
 * A browser attaches no credential for this gateway by itself: there are bearer tokens only, no cookies. The remaining danger
 * is a page of another site that uses its visitor's place in the network. It can send requests that need no preflight: a form or a body
 * of a simple type (refused by `isJson`: only JSON runs), or a GET, as by an image's address (queries only, and refused here where the
 * browser says that it comes from another site without being asked by an allowed origin's script).
 */
export function createCrossSitePolicy(hosts: HostPolicy): CrossSitePolicy {
  function headersFor({ headers }: IncomingMessage): OutgoingHttpHeaders {
    const { origin } = headers;
    if (origin === undefined || !hosts.allowsOrigin(origin)) return { vary: "Origin" };
    return {
      vary: "Origin",
      "access-control-allow-origin": origin,
      "access-control-allow-credentials": "true",
      "access-control-expose-headers": EXPOSED_HEADERS,
    };
  }
  return {
    check({ method, headers }) {
      hosts.check(headers);
      if (headers.origin !== undefined) return;
      const site = headers["sec-fetch-site"];
      const isForeign = site === "cross-site" || site === "same-site";
      // Following a link to the page is what links are for; it runs nothing.
      const isNavigation = headers["sec-fetch-mode"] === "navigate" && method === "GET";
      if (isForeign && !isNavigation)
        throw new ToolyardError("FORBIDDEN", "A page of another site may not call without CORS (CSRF prevention).");
    },
    headersFor,
    preflightHeaders(request) {
      const { origin } = request.headers;
      return {
        ...headersFor(request),
        // A page of the public web asks whether it may reach into this network (https://wicg.github.io/private-network-access/).
        ...(request.headers["access-control-request-private-network"] === "true" &&
          origin !== undefined &&
          hosts.allowsOrigin(origin) && { "access-control-allow-private-network": "true" }),
        "access-control-allow-methods": "GET, POST, PUT, DELETE, OPTIONS",
        "access-control-allow-headers":
          request.headers["access-control-request-headers"] ?? "content-type, authorization",
        "access-control-max-age": String(MAX_AGE_SECONDS),
      };
    },
  };
}

/** Whether a GET that carries an operation is a link that another site's page made its visitor follow. */
export function isForeignLink({ headers }: IncomingMessage): boolean {
  const site = headers["sec-fetch-site"];
  return headers["sec-fetch-mode"] === "navigate" && (site === "cross-site" || site === "same-site");
}
