import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { createMcpHandler, McpServer as StatelessServer } from "@modelcontextprotocol/server";
import { toNodeHandler } from "@modelcontextprotocol/node";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import { launchSchema } from "@toolyard/launch";
import { startStreamServer } from "@toolyard/proxy/fixtures/legacy-server.ts";
import { eventually } from "@toolyard/testing";
import { afterAll, expect, test } from "vitest";
import { createProber, type ProbeTarget } from "./probe.ts";

const prober = createProber({ allowPrivateRemotes: true });
const signal = new AbortController().signal;
afterAll(() => prober.close());

type Serve = (request: IncomingMessage, response: ServerResponse) => void;

async function serve(answer: Serve): Promise<AsyncDisposable & { url: string }> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // It listens on a port.
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const target = (url: string, launch: Record<string, unknown> = {}): ProbeTarget => ({
  launch: launchSchema.parse({ kind: "http", command: "x", options: { health: { timeoutSeconds: 5 } }, ...launch }),
  url,
  token: "",
  owner: null,
  mcpUrl: launch["kind"] === "remote" ? new URL(`${url}/mcp`) : null,
  headers: {},
  handle: null,
});

const greet = () => ({ messages: [] });
const read = () => ({ contents: [] });

/** Of the session era: each request is of a session of its own. */
const ofSessions: Serve = (request, response) => {
  const server = new McpServer({ name: "s", version: "1" }, { instructions: "be kind" });
  server.registerTool("echo", { description: "Echoes." }, () => ({ content: [] }));
  server.registerPrompt("greet", {}, greet);
  server.registerResource("a", "file:///a", {}, read);
  const transport = new StreamableHTTPServerTransport({});
  // The SDK's own transport; its optional properties are declared without `undefined`.
  void server.connect(transport as Transport).then(() => transport.handleRequest(request, response));
};

const stateless = createMcpHandler(() => {
  const server = new StatelessServer({ name: "s", version: "1" }, { instructions: "be kind" });
  server.registerTool("echo", { description: "Echoes." }, () => ({ content: [] }));
  server.registerPrompt("greet", {}, greet);
  server.registerResource("a", "file:///a", {}, read);
  return server;
});
// The SDK's own handler of Node's requests; its optional properties are declared without `undefined`.
const ofNoSessions = toNodeHandler(stateless) as unknown as Serve;

test.each([
  ["2025-11-25", ofSessions, {}],
  ["2026-07-28", ofNoSessions, {}],
  ["2025-11-25, elsewhere", ofSessions, { kind: "remote", url: "https://example.invalid/mcp" }],
])("a server of %s is read, whatever its health paths", async (_revision, answer, launch) => {
  await using server = await serve(answer);
  const health = { timeoutSeconds: 5, livenessPath: "/health" };
  for (const options of [{}, { health }])
    expect(await prober.readInterface(target(server.url, { ...launch, options }), signal)).toMatchObject({
      instructions: "be kind",
      tools: [{ name: "echo", description: "Echoes.", inputSchema: { type: "object" } }],
      prompts: [{ name: "greet" }],
      resources: [{ uri: "file:///a", name: "a" }],
      resourceTemplates: [],
      problems: [],
    });
});

test("a server of HTTP+SSE is read, and keeps no stream", async () => {
  await using legacy = await startStreamServer();
  const reading = await prober.readInterface(target(legacy.url), signal);
  expect(reading?.tools?.map(({ name }) => name)).toContain("echo");
  expect(reading).toMatchObject({ prompts: [], resources: [], problems: [] });
  await eventually("no stream", () => legacy.streams() === 0);
});

test.each<[string, Serve]>([
  ["does not speak MCP", (_request, response) => response.writeHead(404).end("<h1>Not here</h1>")],
  ["answers without end", (_request, response) => flood(response)],
  ["goes away", (request) => request.socket.destroy()],
])("of a server that %s nothing is known", async (_what, answer) => {
  await using server = await serve(answer);
  expect(await prober.readInterface(target(server.url), signal)).toBeNull();
});

test("a reading ends when it is given up", async () => {
  await using server = await serve(() => undefined);
  const gone = new AbortController();
  const reading = prober.readInterface(target(server.url), gone.signal);
  gone.abort();
  expect(await reading).toBeNull();
});

function flood(response: ServerResponse): void {
  response.writeHead(200, { "content-type": "application/json" });
  const more = (): void => {
    while (response.write("[".repeat(100_000)));
  };
  response.on("drain", more).on("error", () => undefined);
  more();
}
