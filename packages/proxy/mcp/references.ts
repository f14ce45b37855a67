import { ownUrl } from "@toolyard/service-kit/http/origin-path.ts";
import { isMcpEndpoint, isOpen, parseCallPath, pathOf, type CallPath } from "../calls/call-path.ts";
import type { Site } from "../site.ts";
import type { Replica } from "../routing/replica.ts";
import type { DeploymentRoute } from "../routing/routes.ts";

/**
 * Rewrites references in a replica's answer for clients of its route. A replica knows its own port and paths, which are
 * private and not reachable by clients; references to elsewhere stay as they are.
 */
export interface References {
  /** Null for a place that the route does not lead to. */
  atRoute(reference: string): string | null;
  /** The route's URL of a path at the replica, whether or not calls may reach it on their own. */
  atAnyPath(path: string): string;
  /** Path and query at the replica; null if it leads elsewhere, or is not a reference. */
  atReplica(reference: string): string | null;
}

/** Headers that refer to something (RFC 9110 §§8.7, 10.2.2; RFC 8288), and the one that makes browsers go elsewhere. */
export const REFERRING = ["location", "content-location", "refresh", "link", "www-authenticate"] as const;

/**
 * @param host The Host header of the call.
 * @param asked Path and query of the request to the replica: the base of relative references.
 */
export function referencesOf(options: {
  path: CallPath;
  host: string | undefined;
  deployment: DeploymentRoute;
  replica: Replica;
  asked: string;
  site: Site;
}): References {
  const { deployment, replica, asked } = options;
  const { prefix, url: publicUrl } = options.site;
  const { slug, ref } = options.path;
  const base = `${prefix}/mcp/${slug}${ref === "" ? "" : `@${ref}`}/v1`;
  const clientHost = publicUrl?.host ?? options.host?.toLowerCase();

  function resolve(reference: string): URL | null {
    const own = ownUrl(reference, asked, replica.target);
    if (own !== null) return own;
    const url = URL.parse(reference.trim());
    if (url === null || url.host !== clientHost) return null;
    return parseCallPath(withoutStart(url.pathname, prefix)) === null ? url : null;
  }

  return {
    atReplica(reference) {
      const url = resolve(reference);
      return url && url.pathname + url.search;
    },
    atRoute(reference) {
      const url = resolve(reference);
      if (url === null) return reference;
      const { mcpTarget } = replica.target;
      // A secret path stays secret.
      const isSecret = mcpTarget !== "" && isMcpEndpoint(url.pathname, { mcpPathname: pathOf(mcpTarget), paths: null });
      const path = isSecret ? deployment.mcpPathname : withoutStart(url.pathname, replica.pathPrefix);
      const { paths } = deployment;
      if (paths !== null && !isMcpEndpoint(path, deployment) && !isOpen(path, paths)) return null;
      const query = isSecret ? "" : url.search;
      return base + path + query + url.hash;
    },
    atAnyPath: (path) => base + withoutStart(path, replica.pathPrefix),
  };
}

/** A header's value with its references rewritten to the route; null when the header is left out. */
export function rewriteReferring(
  name: (typeof REFERRING)[number],
  value: string,
  { atRoute }: References,
): string | null {
  switch (name) {
    case "location":
    case "content-location":
      return atRoute(value);
    case "refresh": {
      // In linear time: a server writes it.
      const [, before, quote = "", rest] = /^([^a-z]*url[ \t]*=[ \t]*)(["']?)(.*)$/is.exec(value) ?? [];
      if (before === undefined || rest === undefined) return value;
      const reference = rest.trim();
      const rewritten = atRoute(quote !== "" && reference.endsWith(quote) ? reference.slice(0, -1) : reference);
      return rewritten === null ? null : `${before}${quote}${rewritten}${quote}`;
    }
    case "link": {
      const isLost = (reference: string) => atRoute(reference) === null;
      const references = [...value.matchAll(/<([^<>]*)>/g)].map(([, reference = ""]) => reference);
      return references.some(isLost) ? null : value.replace(/<([^<>]*)>/g, (_, it: string) => `<${atRoute(it)}>`);
    }
    case "www-authenticate":
      return value.replace(/"(https?:\/\/[^"]*)"/gi, (_, it: string) => `"${atRoute(it) ?? ""}"`);
  }
}

function withoutStart(path: string, start: string): string {
  return start !== "" && path.startsWith(`${start}/`) ? path.slice(start.length) : path;
}
