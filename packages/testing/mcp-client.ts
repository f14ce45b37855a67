import { Client as ClientV2, StreamableHTTPClientTransport as TransportV2 } from "@modelcontextprotocol/client";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as TransportV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";

/** `v1`: the older SDK. `v2-sessions`: the newer SDK as it comes. `v2-stateless`: the newer SDK pinned to revision 2026-07-28. */
export type McpEra = "v1" | "v2-sessions" | "v2-stateless";

/** What the tests need of either SDK's client. */
export interface McpClient {
  era: McpEra;
  listTools(): Promise<string[]>;
  /** The text of the answer. */
  callTool(name: string, args: Record<string, unknown>): Promise<string>;
  close(): Promise<void>;
}

/**
 * Connects a real MCP client to a URL with a bearer token.
 * @param fetch By which it asks; the global one when left out
 */
export async function connectMcp(
  era: McpEra,
  url: string,
  token?: string,
  fetch?: typeof globalThis.fetch,
): Promise<McpClient> {
  const requestInit = token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } };
  const options = { requestInit, ...(fetch && { fetch }) };
  const info = { name: "toolyard-tests", version: "1" };
  if (era === "v1") {
    const client = new ClientV1(info);
    const transport = new TransportV1(new URL(url), options);
    // The SDK's own transport; its optional properties are declared without `undefined`.
    await client.connect(transport as Transport);
    return {
      era,
      listTools: async () => (await client.listTools()).tools.map(({ name }) => name),
      callTool: async (name, args) => textOf(await client.callTool({ name, arguments: args })),
      close: () => client.close(),
    };
  }
  const client = new ClientV2(
    info,
    era === "v2-stateless" ? { versionNegotiation: { mode: { pin: "2026-07-28" } } } : {},
  );
  await client.connect(new TransportV2(new URL(url), options));
  return {
    era,
    listTools: async () => (await client.listTools()).tools.map(({ name }) => name),
    callTool: async (name, args) => textOf(await client.callTool({ name, arguments: args })),
    close: () => client.close(),
  };
}

function textOf(result: unknown): string {
  if (!(result instanceof Object) || !("content" in result) || !Array.isArray(result.content)) return "";
  return result.content
    .map((part: unknown) => (part instanceof Object && "text" in part ? String(part.text) : ""))
    .join("");
}
