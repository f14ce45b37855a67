import { ToolyardError } from "../errors/errors.ts";

/**
 * The credential of an `Authorization` header: `Bearer` in any case, then one word. Null when the header is missing or empty.
 * @throws ToolyardError UNAUTHENTICATED for any other
 */
export function bearerOf(authorization: string | undefined): string | null {
  if (authorization === undefined) return null;
  // The usual spelling is handled without a regular expression, which would look at every character of a token on each call.
  if (authorization.length > 7 && authorization.startsWith("Bearer ") && !authorization.includes(" ", 7))
    return authorization.slice(7);
  const credential = /^\s*Bearer +(\S+)\s*$/i.exec(authorization)?.[1];
  if (credential !== undefined) return credential;
  if (authorization.trim() === "") return null;
  throw new ToolyardError("UNAUTHENTICATED", "The Authorization header must be `Bearer <access token or API key>`.");
}
