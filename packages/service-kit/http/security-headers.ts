/** Enough for browsers' preload lists; subdomains and other services on the name are not Toolyard's to decide about. */
const HSTS = "max-age=31536000";

/**
 * What browsers are told in every answer that Toolyard gives itself: its content is what its type says, is no part of other sites' pages, and
 * is not kept. Routes that serve pages, or what may be kept, say otherwise in place of these. Replicas' answers have none of them.
 * @param publicUrl How clients reach this; null: as they like, and then not only by TLS
 */
export function securityHeaders(publicUrl: string | null): Record<string, string> {
  return {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    // Pages of other origins read answers by CORS, which this does not concern.
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
    ...(publicUrl?.startsWith("https:") && { "strict-transport-security": HSTS }),
  };
}
