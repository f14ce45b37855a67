/** Headers that decide who asks whom for what: if one is given twice, the parts of a chain could each believe another value. */
const ONCE = [
  "host",
  "authorization",
  "content-length",
  "content-type",
  "content-encoding",
  "transfer-encoding",
  "origin",
  "mcp-session-id",
  "x-toolyard-caller",
];
/** A bit for each. */
const BITS = new Map(ONCE.map((name, index) => [name, 1 << index]));
const LENGTHS = (BITS.get("content-length") ?? 0) | (BITS.get("transfer-encoding") ?? 0);

/**
 * The part of a request's head that the parts of a chain could read differently (RFC 9112, section 11.2), as the end of a sentence; null
 * when there is none. Such a request is refused with 400. Node's parser has already refused contradictory lengths.
 *
 * @param rawHeaders In IncomingMessage's form: name, value, name, value…
 */
export function ambiguityOf(rawHeaders: readonly string[]): string | null {
  let seen = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const bit = BITS.get((rawHeaders[at] ?? "").toLowerCase()) ?? 0;
    if ((seen & bit) !== 0) return `the header ${(rawHeaders[at] ?? "").toLowerCase()} is there more than once`;
    seen |= bit;
  }
  return (seen & LENGTHS) === LENGTHS ? "content-length and transfer-encoding are both there" : null;
}

/**
 * A header's name as CGI and its successors (WSGI, Rack, PHP) read it: they take `_`, `.` and others for `-`, so that
 * `x_toolyard_user` would pass for `x-toolyard-user`.
 */
export function cgiName(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9]/g, "-");
}
