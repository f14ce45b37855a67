import { peekJsonRpc } from "./json-rpc-peek.ts";
import type { RequestBody } from "../calls/request-body.ts";
import type { RequestHead } from "../calls/request-head.ts";

const MAX_NAME = 256;

/** A call in MCP's terms, for its usage record. */
export interface McpCall {
  method: string | null;
  /** `params.name`. */
  name: string | null;
}

/** By the headers of revision 2026-07-28, else by a look at the beginning of the body. */
export function readMcpCall(httpMethod: string, { mcpMethod, mcpName }: RequestHead, body: RequestBody): McpCall {
  if (mcpMethod !== undefined) {
    return { method: mcpMethod.slice(0, MAX_NAME), name: mcpName === undefined ? null : decodeName(mcpName) };
  }
  if (httpMethod !== "POST") return { method: null, name: null };
  const { method, name } = peekJsonRpc(body.beginning());
  return { method: method?.slice(0, MAX_NAME) ?? null, name: name?.slice(0, MAX_NAME) ?? null };
}

/** Names that are not plain ASCII come as `=?base64?…?=`. */
function decodeName(value: string): string {
  const encoded = /^=\?base64\?([A-Za-z0-9+/=]*)\?=$/.exec(value)?.[1];
  return (encoded === undefined ? value : Buffer.from(encoded, "base64").toString("utf8")).slice(0, MAX_NAME);
}
