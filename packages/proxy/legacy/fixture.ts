import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { SSEServerTransport } from "@modelcontextprotocol/sdk/server/sse.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import { z } from "zod";

/** A server of HTTP+SSE as the SDK of its time makes it. */
export interface StreamFixture {
  url: string;
  port: number;
  /** Method, path with query, and user of each request, in order. */
  seen: { method: string; url: string; headers: IncomingMessage["headers"]; body: string }[];
  /** How many streams are open. */
  streams(): number;
  /** Cuts all streams; the server goes on. */
  cut(): void;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * @param options.path Of the stream. @default "/sse"
 * @param options.endpoint Of messages, as the endpoint event has it; without a query. @default "/messages"
 * @param options.anyMethod Whether the stream is opened by any method, as by servers that do not look at it.
 */
export async function startStreamServer(
  options: {
    path?: string;
    endpoint?: string;
    anyMethod?: boolean;
    port?: number;
    /** Answers what is neither. */
    other?: (request: IncomingMessage, response: ServerResponse) => boolean;
  } = {},
): Promise<StreamFixture> {
  const { path = "/sse", endpoint = "/messages", anyMethod = false } = options;
  const transports = new Map<string, SSEServerTransport>();
  const responses = new Set<ServerResponse>();
  const seen: StreamFixture["seen"] = [];

  function createMcpServer(): McpServer {
    const server = new McpServer({ name: "of 2024-11-05", version: "1" }, { capabilities: { logging: {} } });
    let count = 0;
    server.registerTool("echo", { inputSchema: { text: z.string() } }, ({ text }) => ({
      content: [{ type: "text", text }],
    }));
    server.registerTool("count", { inputSchema: {} }, () => ({
      content: [{ type: "text", text: String((count += 1)) }],
    }));
    server.registerTool("fail", { inputSchema: {} }, () => ({
      content: [{ type: "text", text: "no" }],
      isError: true,
    }));
    server.registerTool("ask", { inputSchema: {} }, async () => {
      const { content } = await server.server.elicitInput({
        message: "Your name?",
        requestedSchema: { type: "object", properties: { name: { type: "string" } } },
      });
      return { content: [{ type: "text", text: `Hello ${String(content?.name)}` }] };
    });
    server.registerTool("wait", { inputSchema: { ms: z.number() } }, async ({ ms }, { sendNotification, _meta }) => {
      const progressToken = _meta?.progressToken;
      if (progressToken !== undefined)
        await sendNotification({ method: "notifications/progress", params: { progressToken, progress: 1 } });
      await new Promise((resolve) => setTimeout(resolve, ms));
      return { content: [{ type: "text", text: `waited ${ms}` }] };
    });
    return server;
  }

  const server = createServer((request, response) => {
    const url = new URL(request.url ?? "", "http://localhost");
    const entry = { method: request.method ?? "", url: request.url ?? "", headers: request.headers, body: "" };
    seen.push(entry);
    if (url.pathname === path && (anyMethod || request.method === "GET")) {
      const transport = new SSEServerTransport(endpoint, response);
      transports.set(transport.sessionId, transport);
      responses.add(response);
      response.on("close", () => {
        transports.delete(transport.sessionId);
        responses.delete(response);
      });
      // The SDK's own transport; its optional properties are declared without `undefined`.
      void createMcpServer().connect(transport as Transport);
      return;
    }
    const transport = transports.get(url.searchParams.get("sessionId") ?? "");
    if (request.method === "POST" && transport) {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        entry.body = Buffer.concat(chunks).toString();
        void transport.handlePostMessage(request, response, JSON.parse(entry.body));
      });
      return;
    }
    if (options.other?.(request, response)) return;
    response.writeHead(404, { "content-type": "text/html" }).end("<h1>Cannot do that</h1>");
  });
  await new Promise<void>((resolve) => server.listen(options.port ?? 0, "127.0.0.1", resolve));
  // A TCP server's address is never a pipe's string.
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    seen,
    streams: () => responses.size,
    cut() {
      for (const response of responses) response.destroy();
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}
