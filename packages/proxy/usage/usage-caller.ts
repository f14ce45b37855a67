import type { Call } from "../calls/call.ts";
import { readClient } from "../mcp/client-info.ts";
import type { McpCall } from "../mcp/mcp-call.ts";
import type { UsageRecord } from "./usage-journal.ts";

/** Who calls, for the call's usage record. The client is the one that opened the session, or that the request names. */
export function callerOf(
  { caller, session, body }: Pick<Call, "caller" | "session" | "body">,
  { method }: McpCall,
): Pick<UsageRecord, "userId" | "client" | "apiKeyId"> {
  const { userId = null, credential = null } = caller ?? {};
  const named = session === null && method !== null ? readClient(body, method === "initialize") : null;
  return {
    userId,
    client: session?.client ?? named,
    apiKeyId: credential?.type === "api-key" ? credential.apiKeyId : null,
  };
}
