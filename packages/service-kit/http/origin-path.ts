/**
 * The URL of a path, with its query where it has one, at an origin. The origin stays the same whatever the path is: resolved as a
 * reference, `//host/`, `/\host/` or a tab between two slashes would lead to another origin, with the headers meant for this one.
 */
export function urlAt(origin: string, path: string): URL {
  const url = new URL(origin);
  const query = path.indexOf("?");
  url.pathname = query === -1 ? path : path.slice(0, query);
  url.search = query === -1 ? "" : path.slice(query);
  return url;
}

/** Whether text is a path, with a query where it has one, that leads to the same place of the same origin whether it is resolved or appended. */
export function staysAtOrigin(path: string): boolean {
  if (!/^\/[\x21-\x7e]*$/.test(path) || /[\\#]/.test(path)) return false;
  const origin = "http://origin.invalid";
  const resolved = URL.parse(path, origin);
  return resolved?.origin === origin && !resolved.pathname.startsWith("//");
}

/** Names by which a server may call the host that it runs on. */
const EVERYWHERE = new Set(["localhost", "0.0.0.0", "[::]", "[::1]"]);

/**
 * The URL of a server's reference, such as a redirect, if it leads to the server itself; null if it leads elsewhere or is not a URL.
 * @param asked Path and query that relative references are resolved against.
 * @param server Its address, and whether that is on another host.
 */
export function ownUrl(reference: string, asked: string, server: { url: string; remote: boolean }): URL | null {
  const own = new URL(server.url);
  // Read as servers' frameworks mean it: without surrounding spaces.
  const url = URL.parse(reference.trim(), `${own.origin}${asked}`);
  if (url === null || url.origin === own.origin) return url;
  if (server.remote || (url.protocol !== "http:" && url.protocol !== "https:")) return null;
  // By whatever name it calls this host, the port is its own.
  const { hostname } = url;
  const isHere = EVERYWHERE.has(hostname) || hostname.endsWith(".localhost") || /^127(\.\d+){3}$/.test(hostname);
  return isHere && portOf(url) === portOf(own) ? url : null;
}

function portOf({ port, protocol }: URL): string {
  return port === "" ? (protocol === "https:" ? "443" : "80") : port;
}
