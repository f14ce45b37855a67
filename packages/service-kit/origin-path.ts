/**
 * The URL of a path, with its query where it has one, at an origin. The origin stays, whatever the path is: resolved as a
 * reference, `//host/`, `/\host/` or a tab between two slashes would lead to another one, with the headers meant for this.
 */
export function urlAt(origin: string, path: string): URL {
  const url = new URL(origin);
  const query = path.indexOf("?");
  url.pathname = query === -1 ? path : path.slice(0, query);
  url.search = query === -1 ? "" : path.slice(query);
  return url;
}

/** Whether text is a path, with a query where it has one, that leads to the same place of the same origin whoever resolves or appends it. */
export function staysAtOrigin(path: string): boolean {
  if (!/^\/[\x21-\x7e]*$/.test(path) || /[\\#]/.test(path)) return false;
  const origin = "http://origin.invalid";
  const resolved = URL.parse(path, origin);
  return resolved?.origin === origin && !resolved.pathname.startsWith("//");
}
