import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { PassThrough } from "node:stream";
import { json } from "node:stream/consumers";
import { refuse } from "@toolyard/proxy/calls/answer.ts";
import { ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import { expect, onTestFinished, test } from "vitest";
import type { CommandContext } from "./command.ts";
import { call, connectedTo } from "./commands/call.ts";
import { GraphError, type Graph } from "./graph.ts";
import { createTerminal } from "./terminal.ts";

type Answer = (request: IncomingMessage, response: ServerResponse) => unknown;

/** The address of one that answers like this. */
async function serve(answer: Answer): Promise<string> {
  const server = createServer(answer);
  await once(server.listen(0, "127.0.0.1"), "listening");
  onTestFinished(() => server.close().closeAllConnections());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function* never(): AsyncGenerator<never> {}
const graph: Graph = {
  token: () => Promise.resolve("t"),
  query: () => Promise.reject(new GraphError("UPSTREAM_UNAVAILABLE", "The database is away.")),
  subscribe: never,
};

/** The command line's words for calls that are answered like this, with the URL as `@`. */
async function printed(answer: Answer): Promise<string> {
  const url = `${await serve((request, response) => request.resume().on("end", () => answer(request, response)))}/mcp`;
  const work = connectedTo({ graph, signal: AbortSignal.timeout(20_000) }, url, (client) => client.listTools());
  const error = await work.then(
    () => new Error("it was not refused"),
    (reason: unknown) => reason as Error,
  );
  return error.message.replaceAll(url, "@");
}
const body = (status: number, type: string, text: string) => (_request: IncomingMessage, response: ServerResponse) =>
  response.writeHead(status, { "content-type": type }).end(text);

test.each([
  ["UNAUTHENTICATED", 401],
  ["FORBIDDEN", 403],
  ["NOT_FOUND", 404],
  ["PAYLOAD_TOO_LARGE", 413],
  ["RATE_LIMITED", 429],
  ["UPSTREAM_UNAVAILABLE", 502],
  ["UPSTREAM_UNAVAILABLE", 503],
  ["TIMEOUT", 504],
] as const)(
  "the proxy's refusal %s (%d) is its one sentence, as JSON-RPC and as problem+json",
  async (code, status) => {
    const details = status === 429 || status === 503 ? { retryAfterSeconds: 2 } : {};
    const error = new ToolyardError(code, "Toolyard's own words. Try again.", details);
    for (const mcpId of ["null", "0", null]) {
      let answered = 0;
      const said = await printed((request, response) => {
        answered = refuse(request, response, { error }, { requestId: "r", headers: [], unreadBody: false, mcpId });
      });
      expect([answered, said]).toEqual([status, "Toolyard's own words. Try again."]);
    }
  },
);

test.each([
  ["The server's words.", "The server's words."],
  ["", "The tool's server answered with the error -32603, and did not say why."],
])("a JSON-RPC error %j is the server's words", async (message, words) => {
  const error = JSON.stringify({ jsonrpc: "2.0", id: 0, error: { code: -32_603, message } });
  expect(await printed(body(200, "application/json", error))).toBe(words);
  expect(await printed(body(200, "text/event-stream", `data: ${error}\n\n`))).toBe(words);
});

const PAGE = `<!doctype html><html><body>${"<p>nginx</p>".repeat(99)}</body></html>`;
test.each([
  [502, "text/html", PAGE, "@ answered 502 Bad Gateway, but not as Toolyard does. Is the address right?"],
  [503, "text/plain", "", "@ answered 503 Service Unavailable, but not as Toolyard does. Is the address right?"],
  [200, "text/html", PAGE, "@ answered 200, but not as Toolyard does. Is the address right?"],
  [200, "application/json", "{}", "@ answered 200, but not as Toolyard does. Is the address right?"],
  [200, "application/json", "{", "@ answered 200, but not as Toolyard does. Is the address right?"],
  [400, "text/plain", "No such\nsession", "@ answered 400 Bad Request: No such session"],
  [500, "application/json", `{"error":"x"}`, `@ answered 500 Internal Server Error: {"error":"x"}`],
  [500, "text/plain", "y".repeat(2_000), `@ answered 500 Internal Server Error: ${"y".repeat(200)}…`],
])("an answer of others, %d %s, is told in short", async (status, type, text, words) => {
  expect(await printed(body(status, type, text))).toBe(words);
});

test("a redirect to elsewhere says where that is", async () => {
  const said = await printed((_request, response) =>
    response.writeHead(307, { location: "https://example.com/" }).end(),
  );
  expect(said).toMatch(/^@ answered 307 Temporary Redirect \(Redirect to https:\/\/example.com\/ not followed/);
});

test("nobody at the address is told as such", async () => {
  expect(await printed((request) => request.socket.destroy())).toMatch(/^Nobody answers at @ \(/);
});

test("a call that is refused after its tools were listed, too", async () => {
  const results: Record<string, object> = {
    initialize: { protocolVersion: "2025-11-25", capabilities: { tools: {} }, serverInfo: { name: "s", version: "1" } },
    "tools/list": { tools: [{ name: "t", inputSchema: { type: "object" } }] },
  };
  const url = await serve(async (request, response) => {
    if (request.method !== "POST") return response.writeHead(405).end();
    const { id, method } = (await json(request)) as { id?: number; method: string };
    if (id === undefined) return response.writeHead(202).end();
    if (results[method])
      return body(
        200,
        "application/json",
        JSON.stringify({ jsonrpc: "2.0", id, result: results[method] }),
      )(request, response);
    const error = new ToolyardError("RATE_LIMITED", "Too many calls of x. Try again in 7 s.", { retryAfterSeconds: 7 });
    return refuse(request, response, { error }, { requestId: "r", headers: [], unreadBody: false, mcpId: String(id) });
  });
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const terminal = createTerminal({ stdin, stdout, stderr });
  const signal = AbortSignal.timeout(20_000);
  const context: Pick<CommandContext, "graph" | "terminal" | "hint" | "signal" | "url"> = {
    graph,
    terminal,
    hint: String,
    signal,
    url,
  };
  expect(await call.run(context as CommandContext, { positionals: ["x", "t"], values: {}, rest: null })).toBe(1);
  expect(String(stderr.read())).toBe(
    "The database is away. x is called without being looked up.\nToo many calls of x. Try again in 7 s.\n",
  );
});
