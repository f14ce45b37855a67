/** How a server of HTTP+SSE, the transport of 2024-11-05, is told from one of Streamable HTTP: for who calls it and who probes it. */

/** Where such servers have their stream unless something else is said. */
export const USUAL_STREAM_PATH = "/sse";

/** Statuses of servers that do not know the newer transport (the protocol's "Backwards Compatibility"). */
const UNKNOWN_TRANSPORT: ReadonlySet<number> = new Set([400, 404, 405]);

/** Whether a path says it: then the stream is asked for first, since some such servers take any method for a GET. */
export function looksLegacy(path: string): boolean {
  return /\/sse\/?$/.test(path);
}

/** Whether the status with which a server answers a message, without a session, may be that of one of HTTP+SSE. */
export function mayBeLegacy(status: number): boolean {
  return UNKNOWN_TRANSPORT.has(status);
}

/**
 * Where the server may have its stream, once it answered a message with this status. Of what runs elsewhere nothing is asked but
 * what its launch names, and of what has something at its endpoint neither.
 * @param path Of its launch, with its query.
 */
export function streamPaths(
  path: string,
  { isRemote, status = 404 }: { isRemote: boolean; status?: number },
): string[] {
  return isRemote || status === 400 ? [path] : [...new Set([path, USUAL_STREAM_PATH])];
}

/** Whether a refusal is a JSON-RPC error: the answer of one that knows the newer transport. @param text Its beginning. */
export function knowsTransport(text: string): boolean {
  return text.includes('"jsonrpc"');
}

/** Those that keep method and body, and the one whose clients mostly would not, though it is meant (RFC 9110 §15.4.2). */
export function isRedirect(status: number): boolean {
  return status === 301 || status === 307 || status === 308;
}
