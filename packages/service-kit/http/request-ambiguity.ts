/** Headers that decide who asks whom for what: if one is given twice, the parts of a chain could each believe another value. */
const ONCE = new Set([
  "host",
  "authorization",
  "content-length",
  "content-type",
  "content-encoding",
  "transfer-encoding",
  "origin",
  "mcp-session-id",
  "x-toolyard-caller",
]);

/**
 * The part of a request's head that the parts of a chain could read differently (RFC 9112, section 11.2), as the end of a sentence; null
 * when there is none. Such a request is refused with 400. Node's parser has already refused contradictory lengths.
 *
 * @param rawHeaders In IncomingMessage's form: name, value, name, value…
 */
export function ambiguityOf(rawHeaders: readonly string[]): string | null {
  let seen: Set<string> | null = null;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = (rawHeaders[at] ?? "").toLowerCase();
    if (!ONCE.has(name)) continue;
    seen ??= new Set();
    if (seen.has(name)) return `the header ${name} is there more than once`;
    seen.add(name);
  }
  if (seen?.has("content-length") && seen.has("transfer-encoding"))
    return "content-length and transfer-encoding are both there";
  return null;
}

/**
 * A header's name as CGI and its successors (WSGI, Rack, PHP) read it: they take `_`, `.` and others for `-`, so that
 * `x_toolyard_user` would pass for `x-toolyard-user`.
 */
export function cgiName(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9]/g, "-");
}
