import { execFile, spawnSync } from "node:child_process";
import { request } from "node:http";
import { text } from "node:stream/consumers";
import { promisify } from "node:util";
import { connectMcp, eventually, type McpEra } from "@toolyard/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startControlPlane, type FakeControlPlane } from "../fixtures/control-plane.ts";
import { routeTo, startProxy, type RunningProxy } from "../fixtures/proxy.ts";
import { sayName, startUpstream, type Upstream } from "../fixtures/upstream.ts";

let controlPlane: FakeControlPlane;
let running: RunningProxy;
let limited: RunningProxy;
let token: string;
const upstreams: Upstream[] = [];

beforeAll(async () => {
  controlPlane = await startControlPlane();
  const [echo, silent, rude, gone] = await Promise.all([
    startUpstream(sayName("echo")),
    startUpstream(() => undefined),
    startUpstream((incoming) => incoming.socket.destroy()),
    startUpstream(sayName("gone")),
  ]);
  await gone.kill();
  upstreams.push(echo, silent, rude, gone);
  controlPlane.setRoutes([
    routeTo("echo", [echo.url]),
    routeTo("silent", [silent.url], { options: { timeoutSeconds: 1 } }),
    routeTo("rude", [rude.url]),
    routeTo("gone", [gone.url]),
    routeTo("starting", [], { stateReason: "starting is starting: installing its package." }),
    routeTo("other", [echo.url], { mcpPath: "/rpc" }),
  ]);
  running = await startProxy(controlPlane);
  limited = await startProxy(controlPlane, { env: { RATE_LIMIT_TOOL_PER_MINUTE: "1" } });
  token = await controlPlane.accessToken("ada");
  await eventually("the limit", async () => {
    const answer = await fetch(`${limited.url}/mcp/echo/v1/x`, { headers: { authorization: `Bearer ${token}` } });
    return answer.status === 429;
  });
});
afterAll(async () => {
  for (const proxy of [running, limited]) await proxy[Symbol.asyncDispose]();
  for (const upstream of upstreams) await upstream.kill();
  await controlPlane[Symbol.asyncDispose]();
});

interface Case {
  status: number;
  url: () => string;
  credential?: () => string | Promise<string>;
  message: string;
}
const at = (slug: string) => () => `${running.url}/mcp/${slug}/v1/mcp`;
const CASES: Case[] = [
  {
    status: 401,
    url: at("echo"),
    credential: () => "ty_0_unknown",
    message: "The API key is unknown, expired or revoked.",
  },
  {
    status: 403,
    url: at("echo"),
    credential: () => controlPlane.accessToken("vera", "VIEWER"),
    message: "its author has not shared it with you for that (USE)",
  },
  { status: 404, url: at("nothing"), message: "There is no tool nothing deployed in production. Deploy it" },
  { status: 429, url: () => `${limited.url}/mcp/echo/v1/mcp`, message: "Too many calls of echo. Try again in" },
  { status: 502, url: at("rude"), message: "The tool's replica ended the connection before it answered" },
  { status: 503, url: at("gone"), message: "The tool's replica cannot be reached. Try again." },
  { status: 503, url: at("starting"), message: "starting is starting: installing its package." },
  { status: 504, url: at("silent"), message: "The tool did not answer within 1 s. If it needs longer" },
];
const credentialOf = async ({ credential = () => token }: Case): Promise<string> => credential();

// When its very first request is refused, the stateless client says no more than the status: see mcp-clients.test.ts for its calls.
describe.each<McpEra>(["v1", "v2-sessions"])("the SDK's client (%s) throws what the proxy says", (era) => {
  test.each(CASES)("with $status: $message", async (found) => {
    const error: unknown = await connectMcp(era, found.url(), await credentialOf(found)).catch(
      (reason: unknown) => reason,
    );
    const said: string[] = [];
    for (let cause = error; cause instanceof Error; cause = cause.cause) said.push(cause.message);
    expect(said.join("\n")).toContain(found.message);
  });
});

const python = ["python3", "python"].find(
  (command) => spawnSync(command, ["-c", "import mcp.client.streamable_http"]).status === 0,
);
const SCRIPT = `
import asyncio, sys
from mcp import ClientSession
from mcp.client import streamable_http as transport
async def main(url, token):
    try:
        import httpx2 as http
    except ImportError:
        import httpx as http
    async with http.AsyncClient(headers={"authorization": "Bearer " + token}, timeout=20) as client:
        async with transport.streamable_http_client(url, http_client=client) as streams:
            async with ClientSession(streams[0], streams[1]) as session:
                await session.initialize()
def said(error):
    for one in getattr(error, "exceptions", ()): said(one)
    print(str(error))
try: asyncio.run(main(*sys.argv[1:]))
except BaseException as error: said(error)
`;

describe.skipIf(python === undefined)("Python's SDK throws what the proxy says", () => {
  test.each(CASES)("with $status: $message", async (found) => {
    const { stdout } = await promisify(execFile)(python ?? "", ["-c", SCRIPT, found.url(), await credentialOf(found)]);
    expect(stdout).toContain(found.message);
  });
});

const ACCEPT = "application/json, text/event-stream";
function post(path: string, body: string, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${running.url}${path}`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${token}`, ...headers },
    body,
  });
}

describe("a refusal", () => {
  test("of an MCP request has the request's id, and the problem as data; status and headers are the same", async () => {
    const answer = await post("/mcp/starting/v1/mcp", '{"jsonrpc":"2.0","id":"a-7","method":"tools/list"}');
    expect(answer.status).toBe(503);
    expect(answer.headers.get("retry-after")).toBe("2");
    expect(answer.headers.get("content-type")).toBe("application/json");
    expect(await answer.json()).toEqual({
      jsonrpc: "2.0",
      id: "a-7",
      error: {
        code: -32000,
        message: "starting is starting: installing its package.",
        data: expect.objectContaining({
          status: 503,
          code: "UPSTREAM_UNAVAILABLE",
          retry_after_seconds: 2,
          request_id: answer.headers.get("x-request-id"),
        }),
      },
    });
  });

  test.each([
    ['{"jsonrpc":"2.0","id":9007199254740993,"method":"tools/list"}', '"id":9007199254740993'],
    ['{"method":"tools/call","params":{"id":"not this","name":"x"},"jsonrpc":"2.0","id":5}', '"id":5'],
    ['{"jsonrpc":"2.0","method":"notifications/initialized"}', '"id":null'],
    ['{"jsonrpc":"2.0","id":{"a":1},"method":"tools/list"}', '"id":null'],
    ['[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]', '"id":null'],
  ])("of %s says %s, also to who is not known", async (body, id) => {
    for (const headers of [{}, { authorization: "Bearer ty_0_unknown" }]) {
      const answer = await post("/mcp/starting/v1/mcp", body, headers);
      expect(await answer.text()).toContain(`{"jsonrpc":"2.0",${id},"error":`);
    }
  });

  test("of an answer to the server does not repeat the server's own id", async () => {
    const answer = await post("/mcp/starting/v1/mcp", '{"jsonrpc":"2.0","id":3,"result":{}}', { accept: ACCEPT });
    expect(await answer.json()).toMatchObject({ jsonrpc: "2.0", id: null });
  });

  test("of a body that is too large, or of a lost session, is a JSON-RPC error", async () => {
    const large = await post(
      "/mcp/echo/v1/mcp",
      `{"jsonrpc":"2.0","id":1,"method":"x","a":"${"a".repeat(10 * 1024 * 1024)}"}`,
      {
        accept: ACCEPT,
      },
    );
    expect([large.status, await large.json()]).toMatchObject([413, { jsonrpc: "2.0", error: { code: -32000 } }]);
    const lost = await post("/mcp/echo/v1/mcp", '{"jsonrpc":"2.0","id":1,"method":"tools/list"}', {
      "mcp-session-id": "x",
    });
    expect([lost.status, await lost.json()]).toMatchObject([404, { jsonrpc: "2.0", id: 1, error: { code: -32001 } }]);
  });

  test("of a stream that an MCP client opens is a JSON-RPC error", async () => {
    const answer = await fetch(`${running.url}/mcp/starting/v1/mcp`, {
      headers: { accept: "text/event-stream", authorization: `Bearer ${token}` },
    });
    expect([answer.status, await answer.json()]).toMatchObject([503, { jsonrpc: "2.0", id: null }]);
  });

  test("for a wrong Host is a JSON-RPC error to an MCP client", async () => {
    const headers = { host: "evil.example.com", accept: ACCEPT, "content-length": 2 };
    const answer = await new Promise<string>((resolve, reject) => {
      request(at("echo")(), { method: "POST", headers }, (incoming) => void text(incoming).then(resolve, reject))
        .on("error", reject)
        .end("{}");
    });
    expect(JSON.parse(answer)).toMatchObject({
      id: null,
      error: { message: expect.stringContaining("ALLOWED_HOSTS") },
    });
  });

  test.each([
    [
      "another path than the launch's",
      "/mcp/other/v1/mcp",
      '{"jsonrpc":"2.0","id":1,"method":"x"}',
      { accept: ACCEPT },
    ],
    ["a body that is no JSON-RPC, from who does not speak MCP", "/mcp/starting/v1/mcp", "{}", {}],
  ])("for %s stays problem+json", async (_what, path, body, headers) => {
    const answer = await post(path, body, { ...headers, authorization: "Bearer ty_0_unknown" });
    const known = await post(path, body, headers);
    expect(known.headers.get("content-type")).toBe(
      path.includes("other") ? "application/json" : "application/problem+json",
    );
    expect(answer.status).toBe(401);
  });

  test("waits no longer than a moment for a body that does not come", async () => {
    const answer = await new Promise<string>((resolve, reject) => {
      const sent = request(
        at("echo")(),
        { method: "POST", headers: { accept: ACCEPT, "content-length": 100 } },
        (incoming) => {
          text(incoming).then(resolve, reject);
        },
      ).on("error", reject);
      sent.write('{"jsonrpc"');
    });
    expect(JSON.parse(answer)).toMatchObject({ id: null, error: { data: { status: 401 } } });
  });
});
