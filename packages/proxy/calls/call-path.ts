/** Where a call's path leads: `/mcp/{slug}/v1/{rest}`, `/mcp/{slug}@{ref}/v1/{rest}`. */
export interface CallPath {
  slug: string;
  /** "" for production, "staging", or the name of one deployment. */
  ref: string;
  /** What goes to the replica: begins with "/", without the query. */
  path: string;
  /** With its "?", or "". */
  query: string;
}

const CALL = /^\/mcp\/([a-z][a-z0-9-]{1,62})(?:@([A-Za-z0-9][\w.-]{0,127}))?\/v1(\/[^?#]*)?(\?[^#]*)?$/;
/** `.` and `..` as whole segments, also percent-encoded: they would climb out of the route. */
const DOT_SEGMENT = /\/(?:\.|%2e){1,2}(?:\/|$)/i;

/** Characters that programs read in different ways: as slashes, dots, or an end. */
const AMBIGUOUS = /[\\;]|\/\/|%(?:2e|2f|5c|3b|00)/i;

/** Whether a path is the MCP endpoint's: with and without a slash at its end, as servers and clients differ in it. */
export function isMcpPath(path: string, mcpPath: string): boolean {
  if (path === mcpPath) return true;
  return path.endsWith("/") ? path.slice(0, -1) === mcpPath : `${path}/` === mcpPath;
}

/** Whether a call may reach this path of a server that opens, besides its MCP endpoint, only `paths` and what lies below them. */
export function isOpen(path: string, paths: readonly string[]): boolean {
  if (AMBIGUOUS.test(path)) return false;
  return paths.some((open) => path === open || path.startsWith(open.endsWith("/") ? open : `${open}/`));
}

/** Where MCP is spoken unless the launch says otherwise, and for who does not know what it says. */
export const USUAL_MCP_PATH = "/mcp";

/** Whether a call to this path is one of the MCP endpoint. What runs elsewhere is found at the usual path, too. */
export function isMcpEndpoint(
  path: string,
  { mcpPathname, paths }: { mcpPathname: string; paths: readonly string[] | null },
): boolean {
  if (isMcpPath(path, mcpPathname)) return true;
  return paths !== null && isMcpPath(path, USUAL_MCP_PATH) && !isOpen(path, paths);
}

/** Null for what is no call. */
export function parseCallPath(url: string): CallPath | null {
  const match = CALL.exec(url);
  if (!match) return null;
  const [, slug = "", ref = "", path = "/", query = ""] = match;
  if (path.includes("/.") || path.includes("%")) {
    if (DOT_SEGMENT.test(path)) return null;
  }
  return { slug, ref, path, query };
}
