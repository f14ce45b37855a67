import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { startStreamServer } from "@toolyard/proxy/fixtures/legacy-server.ts";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import { eventually } from "@toolyard/testing";
import { afterAll, describe, expect, test } from "vitest";
import { launchSchema } from "@toolyard/launch";
import { createProber, type ProbeTarget } from "./probe.ts";

const prober = createProber({ allowPrivateRemotes: true });
const signal = new AbortController().signal;
afterAll(() => prober.close());

const target = (url: string, launch: Record<string, unknown>, more: Partial<ProbeTarget> = {}): ProbeTarget => ({
  launch: launchSchema.parse({ command: "x", options: { health: { timeoutSeconds: 2 } }, ...launch }),
  url,
  token: "",
  owner: null,
  mcpUrl: null,
  headers: {},
  handle: null,
  ...more,
});

describe("a server of HTTP+SSE", () => {
  test.each([
    ["at the path of its launch", {}, { path: "/sse" }],
    ["at the usual path", {}, {}],
    ["at any path", { path: "/a/b", endpoint: "/a/messages" }, { path: "/a/b" }],
    ["that takes any method for a GET", { anyMethod: true }, { path: "/sse" }],
  ])("%s is asked for its tools, and keeps no stream", async (_name, server, launch) => {
    await using legacy = await startStreamServer(server);
    for (const ask of [prober.check, prober.checkStartup])
      expect(await ask(target(legacy.url, { kind: "http", ...launch }), signal)).toMatchObject({
        outcome: "ANSWERED",
        kind: "mcp tools/list",
      });
    await eventually("no stream", () => legacy.streams() === 0);
  });

  test("elsewhere gets the launch's headers, and nothing is asked of it but what the launch names", async () => {
    await using legacy = await startStreamServer();
    const mcpUrl = new URL(`${legacy.url}/sse?k=v`);
    const remote = (url: URL) =>
      target(legacy.url, { kind: "remote", url: url.href }, { mcpUrl: url, headers: { "x-api-key": "k3y" } });
    expect(await prober.check(remote(mcpUrl), signal)).toMatchObject({ outcome: "ANSWERED" });
    expect(new Set(legacy.seen.map(({ headers }) => headers["x-api-key"]))).toEqual(new Set(["k3y"]));
    legacy.seen.length = 0;
    expect(await prober.check(remote(new URL(`${legacy.url}/mcp`)), signal)).toMatchObject({ outcome: "FAILED" });
    expect(new Set(legacy.seen.map(({ url }) => url))).toEqual(new Set(["/mcp"]));
  });

  test.each([
    ["that does not answer", () => undefined, "It did not answer initialize within 2 s (health.timeoutSeconds)."],
    [
      "whose endpoint is elsewhere",
      (): string => "event: endpoint\ndata: http://example.invalid/messages\n\n",
      "Its endpoint for messages is elsewhere, where nothing is sent.",
    ],
    ...[": x\n", "event: other\ndata: x\n\n", `event: message\ndata: ${"x".repeat(9_999)}\n\n`].map(
      (flood): [string, () => string, string] => [
        `that sends ${JSON.stringify(flood.slice(0, 14))} for good`,
        () => `event: endpoint\ndata: /messages\n\n${flood.repeat(5_000_000 / flood.length)}`,
        "Its answer is larger than 4 MiB, or a stream of too many events.",
      ],
    ),
  ])("%s is not, and that is said", async (_name, first, detail) => {
    await using legacy = await startStreamServer({
      path: "/never",
      other(request, response) {
        if (request.method === "GET") {
          response.writeHead(200, { "content-type": "text/event-stream" });
          response.write(first() ?? "event: endpoint\ndata: /messages\n\n");
          return true;
        }
        if (!request.url?.startsWith("/messages")) return false;
        response.writeHead(202).end();
        return true;
      },
    });
    const result = await prober.check(target(legacy.url, { kind: "http", path: "/sse" }), signal);
    expect(result).toMatchObject({ outcome: "FAILED", detail });
  });
});

describe("a redirect of the MCP endpoint", () => {
  /** A server of Streamable HTTP at /mcp/ alone. */
  const serve: RequestListener = (request, response) => {
    void (async () => {
      const server = new McpServer({ name: "slash", version: "1" });
      server.registerTool("echo", {}, () => ({ content: [] }));
      const transport = new StreamableHTTPServerTransport({});
      // The SDK's own transport; its optional properties are declared without `undefined`.
      await server.connect(transport as Transport);
      await transport.handleRequest(request, response);
    })();
  };

  test.each([
    [307, (port: number) => `http://localhost:${port}/mcp/`, "ANSWERED"],
    [308, () => "/mcp/", "ANSWERED"],
    [307, () => "/mcp", "FAILED"],
    [307, () => "http://example.invalid/mcp/", "FAILED"],
  ])("by %i is followed within the server", async (status, to, outcome) => {
    const server = createServer((request, response) => {
      if (request.url === "/mcp/") return serve(request, response);
      // It listens on a port.
      response.writeHead(status, { location: to((server.address() as AddressInfo).port) }).end();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const result = await prober.check(target(`http://127.0.0.1:${port}`, { kind: "http" }), signal);
    expect(result.outcome).toBe(outcome);
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
});
