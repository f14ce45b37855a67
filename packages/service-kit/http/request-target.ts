import { withoutPrefix } from "./path-prefix.ts";

/** A target with scheme and authority, as sent by clients that take this server for their HTTP proxy. */
const ABSOLUTE_FORM = /^https?:\/\/([^/?#]*)(.*)$/is;

/**
 * A request's target as path and query, without the prefix of PUBLIC_URL, exactly as its client wrote it: nothing is decoded or resolved.
 * `host`: the authority of an absolute form, which counts whatever Host says (RFC 9112, section 3.2.2); null for other forms.
 */
export function readTarget(target: string, prefix: string): { host: string | null; url: string } {
  if (target.startsWith("/")) return { host: null, url: withoutPrefix(target, prefix) };
  const [, host = null, rest = ""] = ABSOLUTE_FORM.exec(target) ?? [];
  // An authority that no URL can have is no host: the target stays what nobody serves.
  if (host === null || !URL.canParse(`http://${host}`)) return { host: null, url: withoutPrefix(target, prefix) };
  return { host, url: withoutPrefix(rest.startsWith("/") ? rest : `/${rest}`, prefix) };
}
