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
