import { printable, type RequestLog } from "@toolyard/service-kit/http/request-log.ts";
import type { McpCall } from "../mcp/mcp-call.ts";
import type { Call } from "./call.ts";

/** Characters of names that clients and servers choose. */
const MAX_LOGGED_NAME = 64;

/** Writes a call's line. */
export function logCall(
  requestLog: RequestLog,
  { request, path, requestId, caller, replicaId, status }: Call,
  mcp: McpCall,
  tookMs: number,
): void {
  const isNamed = mcp.method === "tools/call" || mcp.method === "prompts/get";
  requestLog.write(
    {
      request_id: requestId,
      user_id: caller?.userId,
      method: request.method,
      slug: path.slug,
      ref: path.ref === "" ? undefined : path.ref,
      replica: replicaId,
      // For resources it is a URI, which may reveal too much.
      rpc_method: mcp.method === null ? undefined : printable(mcp.method, MAX_LOGGED_NAME),
      tool: isNamed && mcp.name !== null ? printable(mcp.name, MAX_LOGGED_NAME) : undefined,
      status,
      duration_ms: Math.round(tookMs * 100) / 100,
    },
    "call",
  );
}
