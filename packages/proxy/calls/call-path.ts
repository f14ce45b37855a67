/** Where a call's path leads: `/mcp/{slug}/v1/{rest}`, `/mcp/{slug}@{ref}/v1/{rest}`. */
export interface CallPath {
  slug: string;
  /** "" for production, "staging", or the name of one deployment. */
  ref: string;
  /** The path at the replica: begins with "/", without the query. */
  path: string;
  /** With its "?", or "". */
  query: string;
}

const CALL = /^\/mcp\/([a-z][a-z0-9-]{1,62})(?:@([A-Za-z0-9][\w.-]{0,127}))?\/v1(\/[^?#]*)?(\?[^#]*)?$/;
/** `.` and `..` as whole segments, also percent-encoded: they would climb out of the route. */
const DOT_SEGMENT = /\/(?:\.|%2e){1,2}(?:\/|$)/i;

/** Characters that programs read differently: as slashes, dots, or an end. */
const AMBIGUOUS = /[\\;]|\/\/|%(?:2e|2f|5c|3b|00)/i;

/** Whether a path is the MCP endpoint's, with or without a trailing slash, in which servers and clients differ. */
export function isMcpPath(path: string, mcpPath: string): boolean {
  if (path === mcpPath) return true;
  return path.endsWith("/") ? path.slice(0, -1) === mcpPath : `${path}/` === mcpPath;
}

/** Whether a call may reach this path of a server that opens, besides its MCP endpoint, only `paths` and the paths below them. */
export function isOpen(path: string, paths: readonly string[]): boolean {
  if (AMBIGUOUS.test(path)) return false;
  return paths.some((open) => path === open || path.startsWith(open.endsWith("/") ? open : `${open}/`));
}

/** The path of MCP unless the launch sets another, also for callers that do not know the launch. */
export const USUAL_MCP_PATH = "/mcp";

/** Whether a call to this path goes to the MCP endpoint. An endpoint elsewhere is also found at the usual path. */
export function isMcpEndpoint(
  path: string,
  { mcpPathname, paths }: { mcpPathname: string; paths: readonly string[] | null },
): boolean {
  if (isMcpPath(path, mcpPathname)) return true;
  return paths !== null && isMcpPath(path, USUAL_MCP_PATH) && !isOpen(path, paths);
}

/** Null for a path that is not a call. */
export function parseCallPath(url: string): CallPath | null {
  const match = CALL.exec(url);
  if (!match) return null;
  const [, slug = "", ref = "", path = "/", query = ""] = match;
  if (path.includes("/.") || path.includes("%")) {
    if (DOT_SEGMENT.test(path)) return null;
  }
  return { slug, ref, path, query };
}

/** A request target without its query. */
export function pathOf(target: string): string {
  return target.replace(/\?.*/s, "");
}
