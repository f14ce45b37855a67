import type { Call } from "../calls/call.ts";
import { isMcpPath, USUAL_MCP_PATH } from "../calls/call-path.ts";
import { peekJsonRpc } from "./json-rpc-peek.ts";
import type { RequestHead } from "../calls/request-head.ts";
import { idTextOf } from "./round-trips.ts";

/**
 * Whether an MCP client asks, which shows its user a JSON-RPC error, but of any other body at best its bytes. Decided by the head: the
 * types that the protocol has clients accept, or one of the protocol's own headers.
 */
export function isMcpHead(
  method: string | undefined,
  path: string,
  head: RequestHead,
  mcpPath = USUAL_MCP_PATH,
): boolean {
  if (!(isMcpPath(path, mcpPath) || isMcpPath(path, USUAL_MCP_PATH)) || method === "HEAD" || method === "OPTIONS")
    return false;
  return (
    head.mcpMethod !== undefined ||
    head.sessionId !== undefined ||
    (head.accept?.includes("text/event-stream") ?? false)
  );
}

/** The id of the MCP request that is refused, as JSON: "null" when it has none or none is known. Null when it is not MCP. */
export function mcpIdOf({ request, path, head, deployment, body }: Call): string | null {
  const mcpPath = deployment?.mcpPathname ?? USUAL_MCP_PATH;
  const text =
    request.method === "POST" && (isMcpPath(path.path, mcpPath) || isMcpPath(path.path, USUAL_MCP_PATH))
      ? body.beginning()
      : "";
  // An answer to a server has an id, too, which is the server's.
  if (peekJsonRpc(text).method !== null) return idTextOf(Buffer.from(text));
  return isMcpHead(request.method, path.path, head, mcpPath) ? "null" : null;
}
