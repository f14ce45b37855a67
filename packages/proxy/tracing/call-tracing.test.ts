import { join } from "node:path";
import { type RunningBridge, startBridge } from "@toolyard/bridge/bridge.fixture.ts";
import { connectMcp, eventually, type McpEra } from "@toolyard/testing";
import { startOtlpReceiver, type OtlpReceiver, type ReceivedSpan } from "@toolyard/testing/otlp-receiver.ts";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startControlPlane, type FakeControlPlane } from "../fixtures/control-plane.ts";
import { routeTo, startProxy, type RunningProxy } from "../fixtures/proxy.ts";
import { startUpstream, type Upstream } from "../fixtures/upstream.ts";

const FIXTURE = join(import.meta.dirname, "..", "fixtures", "feature-server.mjs");
const TRACE = "0af7651916cd43dd8448eb211c80319c";
const OF_CLIENT = "b7ad6b7169203331";
const OF_MESSAGE = "00f067aa0ba902b7";

let controlPlane: FakeControlPlane;
let collector: OtlpReceiver;
let bridge: RunningBridge;
let http: Upstream;
let running: RunningProxy;
let token: string;

beforeAll(async () => {
  controlPlane = await startControlPlane();
  collector = await startOtlpReceiver();
  bridge = await startBridge([FIXTURE, "v1", "stdio"], { token: "the-token" });
  http = await startUpstream((_request, response, body) => {
    response.writeHead(200, { "content-type": "application/json" });
    const { id } = JSON.parse(body) as { id: unknown };
    const isFailure = body.includes('"fails"');
    const error = { data: { code: 7 }, code: -32_001, message: "secret words" };
    const result = { content: [], isError: body.includes('"says-no"') };
    response.end(JSON.stringify({ jsonrpc: "2.0", id, ...(isFailure ? { error } : { result }) }));
  });
  const stdio = routeTo("stdio", [bridge.url.origin]);
  controlPlane.setRoutes([
    { ...stdio, targets: stdio.targets.map((target) => ({ ...target, token: "the-token" })) },
    routeTo("http", [http.url]),
  ]);
  running = await startProxy(controlPlane, {
    env: { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_BSP_SCHEDULE_DELAY: "20" },
  });
  token = await controlPlane.accessToken("ada");
});
afterAll(async () => {
  await running[Symbol.asyncDispose]();
  await bridge[Symbol.asyncDispose]();
  await http[Symbol.asyncDispose]();
  await collector.close();
  await controlPlane[Symbol.asyncDispose]();
});
beforeEach(() => {
  collector.spans.length = 0;
  http.seen.length = 0;
});

async function spansNamed(name: string, count: number): Promise<ReceivedSpan[]> {
  const found = (): ReceivedSpan[] => collector.spans.filter((span) => span.name === name);
  await eventually(`${count} spans ${name}`, () => found().length >= count);
  return found();
}

async function call(
  slug: string,
  name: string,
  {
    headers = {},
    meta,
    credential = token,
  }: { headers?: Record<string, string>; meta?: object; credential?: string } = {},
): Promise<string> {
  const answer = await fetch(`${running.url}/mcp/${slug}/v1/mcp`, {
    method: "POST",
    headers: {
      authorization: `Bearer ${credential}`,
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      ...headers,
    },
    body: JSON.stringify({
      jsonrpc: "2.0",
      id: "call-1",
      method: "tools/call",
      params: { name, arguments: { number: 1 }, ...(meta && { _meta: meta }) },
    }),
  });
  return answer.text();
}

/** What the server was sent in `_meta`, as the tool `echo` says. */
function metaSeen(answer: string): Record<string, string> {
  const { result } = JSON.parse(answer) as { result: { content: { text: string }[] } };
  return JSON.parse(result.content[0]?.text ?? "") as Record<string, string>;
}

describe("a call of a server on stdio", () => {
  test("has a span at the proxy and one of the bridge, which is the context that the server gets", async () => {
    const began = Date.now();
    const seen = metaSeen(
      await call("stdio", "echo", {
        headers: { traceparent: `00-${TRACE}-${OF_CLIENT}-01`, tracestate: "rojo=1", baggage: "user=alice" },
      }),
    );
    const [atProxy, atBridge] = (await spansNamed("tools/call echo", 2)).toSorted((a, b) => (a.kind > b.kind ? -1 : 1));
    expect(atProxy).toMatchObject({
      kind: "SERVER",
      traceId: TRACE,
      parentSpanId: OF_CLIENT,
      isError: false,
      resource: { "service.name": "toolyard-proxy" },
      attributes: {
        "mcp.method.name": "tools/call",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "echo",
        "jsonrpc.request.id": "call-1",
        "network.transport": "tcp",
        "http.response.status_code": 200,
        "toolyard.tool.slug": "stdio",
        "toolyard.replica.id": "replica-stdio-0",
      },
    });
    expect(atBridge).toMatchObject({
      kind: "CLIENT",
      traceId: TRACE,
      parentSpanId: atProxy?.spanId,
      isError: false,
      attributes: { "mcp.method.name": "tools/call", "gen_ai.tool.name": "echo", "network.transport": "pipe" },
    });
    expect(seen).toEqual({
      traceparent: `00-${TRACE}-${atBridge?.spanId}-01`,
      tracestate: "rojo=1",
      baggage: "user=alice",
    });
    expect(Number(atBridge?.startedAt) / 1e6).toBeGreaterThan(began - 1);
    expect(atBridge?.endedAt).toBeGreaterThan(atBridge?.startedAt ?? 0n);
    expect(Number(atBridge?.endedAt)).toBeLessThanOrEqual(Number(atProxy?.endedAt) + 1e7);
  });

  test("continues the message's own context before that of its HTTP request, to which it links", async () => {
    const seen = metaSeen(
      await call("stdio", "echo", {
        headers: { traceparent: `00-${"1".repeat(32)}-${OF_CLIENT}-01` },
        meta: { traceparent: `00-${TRACE}-${OF_MESSAGE}-01`, tracestate: "of=message", kept: 1 },
      }),
    );
    const spans = await spansNamed("tools/call echo", 2);
    const atProxy = spans.find(({ kind }) => kind === "SERVER");
    const atBridge = spans.find(({ kind }) => kind === "CLIENT");
    expect(atProxy).toMatchObject({
      traceId: TRACE,
      parentSpanId: OF_MESSAGE,
      links: [{ traceId: "1".repeat(32), spanId: OF_CLIENT }],
    });
    expect(seen).toEqual({
      traceparent: `00-${TRACE}-${atBridge?.spanId}-01`,
      tracestate: "of=message",
      kept: 1,
    });
  });

  test("that the client does not want to be recorded has no span, and its context goes on as it is", async () => {
    const traceparent = `00-${TRACE}-${OF_MESSAGE}-00`;
    expect(metaSeen(await call("stdio", "echo", { meta: { traceparent } }))).toEqual({ traceparent });
    await call("stdio", "progress");
    await spansNamed("tools/call progress", 2);
    expect(collector.spans.map(({ name }) => name)).not.toContain("tools/call echo");
  });

  test.each<McpEra>(["v1", "v2-sessions", "v2-stateless"])(
    "by the SDK's client (%s) is recorded with session and version",
    async (era) => {
      const client = await connectMcp(era, `${running.url}/mcp/stdio/v1/mcp`, token);
      await client.callTool("echo", {});
      const [span] = (await spansNamed("tools/call echo", 2)).filter(({ kind }) => kind === "SERVER");
      expect(span?.attributes).toMatchObject({
        "mcp.protocol.version": era === "v2-stateless" ? "2026-07-28" : "2025-11-25",
        ...(era === "v2-stateless" ? {} : { "mcp.session.id": expect.any(String) as string }),
      });
      expect(
        collector.spans.some(({ name }) => name === (era === "v2-stateless" ? "server/discover" : "initialize")),
      ).toBe(true);
      await client.close();
    },
  );

  test("whose client left is ended as cancelled, and its bridge's part with it", async () => {
    const leaving = new AbortController();
    const { url } = running;
    const body = {
      jsonrpc: "2.0",
      id: 1,
      method: "tools/call",
      params: {
        name: "wait",
        arguments: { until: "never" },
        _meta: {
          progressToken: 1,
          "io.modelcontextprotocol/protocolVersion": "2026-07-28",
          "io.modelcontextprotocol/clientCapabilities": {},
        },
      },
    };
    const answer = await fetch(`${url}/mcp/stdio/v1/mcp`, {
      method: "POST",
      signal: leaving.signal,
      headers: {
        authorization: `Bearer ${token}`,
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": "wait",
      },
      body: JSON.stringify(body),
    });
    await answer.body?.getReader().read();
    leaving.abort();
    const spans = await spansNamed("tools/call wait", 2);
    expect(Object.fromEntries(spans.map(({ kind, attributes }) => [kind, attributes["error.type"]]))).toEqual({
      SERVER: "499",
      CLIENT: "cancelled",
    });
  });
});

describe("a call of a server on HTTP", () => {
  test("is one span, which is the context in its headers, and in its message where that has one", async () => {
    await call("http", "works", { meta: { traceparent: `00-${TRACE}-${OF_MESSAGE}-01` } });
    const [span] = await spansNamed("tools/call works", 1);
    const own = `00-${TRACE}-${span?.spanId}-01`;
    expect(http.seen.map(({ headers, body }) => [headers.traceparent, JSON.parse(body)])).toEqual([
      [
        own,
        expect.objectContaining({ params: { name: "works", arguments: { number: 1 }, _meta: { traceparent: own } } }),
      ],
    ]);
    await call("http", "works");
    const [, begun] = await spansNamed("tools/call works", 2);
    expect(begun?.parentSpanId).toBe("");
    expect(http.seen[1]?.headers["x-toolyard-trace"]).toBeUndefined();
  });

  test.each([
    ["fails", "-32001", "-32001"],
    ["says-no", "tool_error", undefined],
  ])("that %s is an error of that class, without its words", async (name, type, code) => {
    await call("http", name);
    const [span] = await spansNamed(`tools/call ${name}`, 1);
    expect(span?.isError).toBe(true);
    expect(span?.attributes["error.type"]).toBe(type);
    expect(span?.attributes["rpc.response.status_code"]).toBe(code);
    expect(collector.bytes()).not.toContain("secret words");
  });

  test("that is refused is recorded as refused, with nothing of the credential", async () => {
    await call("http", "unlet", { credential: "a-wrong-credential" });
    const [span] = await spansNamed("tools/call unlet", 1);
    expect(span?.attributes).toMatchObject({ "error.type": "401", "http.response.status_code": 401 });
    expect(collector.bytes()).not.toContain("a-wrong-credential");
  });
});
