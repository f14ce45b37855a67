/** How a server of HTTP+SSE, the transport of 2024-11-05, is told from one of Streamable HTTP: for calls and probes. */

/** The default path of such servers' streams. */
export const USUAL_STREAM_PATH = "/sse";

/** Statuses of servers that do not know the newer transport (the protocol's "Backwards Compatibility"). */
const UNKNOWN_TRANSPORT: ReadonlySet<number> = new Set([400, 404, 405]);

/** Whether a path indicates such a server: then the stream is asked for first, since some such servers take any method for a GET. */
export function looksLegacy(path: string): boolean {
  return /\/sse\/?$/.test(path);
}

/** Whether the status with which a server answers a message, without a session, may be that of one of HTTP+SSE. */
export function mayBeLegacy(status: number): boolean {
  return UNKNOWN_TRANSPORT.has(status);
}

/**
 * Where the server may have its stream, once it answered a message with this status. A server elsewhere, or one with something at its
 * endpoint, is asked only at the path that its launch names.
 * @param path Of its launch, with its query.
 */
export function streamPaths(
  path: string,
  { isRemote, status = 404 }: { isRemote: boolean; status?: number },
): string[] {
  return isRemote || status === 400 ? [path] : [...new Set([path, USUAL_STREAM_PATH])];
}

/** Whether a refusal is a JSON-RPC error, as from a server that knows the newer transport. @param text Its beginning. */
export function knowsTransport(text: string): boolean {
  return text.includes('"jsonrpc"');
}

/** Redirects that keep method and body, and the one meant to, whose clients mostly do not (RFC 9110 §15.4.2). */
export function isRedirect(status: number): boolean {
  return status === 301 || status === 307 || status === 308;
}
