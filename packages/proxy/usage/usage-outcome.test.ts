import { gzipSync } from "node:zlib";
import { eventually } from "@toolyard/testing";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startControlPlane, type FakeControlPlane } from "../fixtures/control-plane.ts";
import { routeTo, startProxy, type RunningProxy } from "../fixtures/proxy.ts";
import { startUpstream, type Upstream } from "../fixtures/upstream.ts";

/** What the replica answers to a call: by its body's `params.name`. */
const ANSWERS: Record<string, string> = {
  fine: '{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"\\"isError\\":true"}],"isError":false}}',
  tool: '{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"no such city"}],"isError" : true}}',
  rpc: '{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no such tool"}}',
  nested: '{"jsonrpc":"2.0","id":1,"result":{"structuredContent":{"isError":true,"error":{}},"content":[]}}',
  large: `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"${"x".repeat(3_000_000)}"}],"isError":true}}`,
};
/** As many servers say it. */
const NO_SUCH_TOOL =
  '{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"Unknown tool"}],"isError":true}}';
/** A thousand tools in pages, of which one is called here. */
const listOf = (cursor = "0"): string => {
  const tools = Array.from({ length: 250 }, (_, n) => ({ name: `tool-${Number(cursor) + n}` }));
  if (cursor === "750") tools.push({ name: "tool" });
  return JSON.stringify({ jsonrpc: "2.0", id: 1, result: { tools, nextCursor: String(Number(cursor) + 250) } });
};
const asStream = (json: string) =>
  `event: message\ndata: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1,"error":"isError"}}\n\nevent: message\ndata: ${json}\n\n`;

let controlPlane: FakeControlPlane;
let running: RunningProxy;
let server: Upstream;
let token: string;

beforeAll(async () => {
  controlPlane = await startControlPlane();
  server = await startUpstream((request, response, body) => {
    const url = new URL(request.url ?? "", "http://localhost");
    type Asked = { method: string; params: { name: string; cursor?: string } };
    const answerTo = ({ method, params }: Asked): string => {
      if (method === "tools/list") return listOf(params.cursor);
      return (Object.hasOwn(ANSWERS, params.name) ? ANSWERS[params.name] : undefined) ?? NO_SUCH_TOOL;
    };
    const asked = JSON.parse(body) as Asked | Asked[];
    const json = Array.isArray(asked) ? `[${asked.map(answerTo).join(",")}]` : answerTo(asked);
    const isStream = url.searchParams.has("stream");
    const text = isStream ? asStream(json) : json;
    // As servers with a compressing middleware do, where the request allows it.
    const zips = String(request.headers["accept-encoding"]).includes("gzip");
    response.writeHead(url.searchParams.has("bad") ? 400 : 200, {
      "content-type": isStream ? "text/event-stream" : "application/json",
      ...(zips && { "content-encoding": "gzip" }),
    });
    response.end(zips ? gzipSync(text) : text);
  });
  controlPlane.setRoutes([routeTo("server", [server.url])]);
  running = await startProxy(controlPlane);
  token = await controlPlane.accessToken("ada");
});
afterAll(async () => {
  await running[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
  await controlPlane[Symbol.asyncDispose]();
});

test.each([
  ["fine", "", 200, null],
  ["tool", "", 200, "TOOL_ERROR"],
  ["rpc", "", 200, "RPC_ERROR"],
  ["rpc", "?bad", 400, "RPC_ERROR"],
  ["nested", "", 200, null],
  ["large", "", 200, "TOOL_ERROR"],
  ["fine", "?stream", 200, null],
  ["tool", "?stream", 200, "TOOL_ERROR"],
  ["rpc", "?stream", 200, "RPC_ERROR"],
  ["nested", "?stream", 200, null],
  ["large", "?stream", 200, "TOOL_ERROR"],
])("a call whose answer is %s%s is recorded with %i and %s", async (name, query, statusCode, mcpFailure) => {
  controlPlane.batches.clear();
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name } });
  for (const headers of [{}, { "mcp-method": "tools/call", "mcp-name": name }]) {
    const answer = await fetch(`${running.url}/mcp/server/v1/mcp${query}`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json", ...headers },
      body,
    });
    // The caller's bytes are the server's.
    expect(await answer.text()).toBe(query === "?stream" ? asStream(ANSWERS[name] ?? "") : ANSWERS[name]);
  }
  await eventually("two records", () => controlPlane.records().length === 2);
  for (const record of controlPlane.records()) expect(record).toMatchObject({ mcpTool: name, statusCode, mcpFailure });
});

test("what the proxy refuses by itself is no failure of the server", async () => {
  controlPlane.batches.clear();
  const answer = await fetch(`${running.url}/mcp/server/v1/mcp`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "mcp-session-id": "none" },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list" }),
  });
  expect(answer.status).toBe(404);
  await eventually("a record", () => controlPlane.records().length === 1);
  expect(controlPlane.records()[0]).toMatchObject({ statusCode: 404, mcpFailure: null });
});

test.each(["", "?stream"])(
  "a tool is known once it is on a page of its server's list; before, a result may tell%s",
  async (query) => {
    const slug = `lister${query.length}`;
    controlPlane.setRoutes([routeTo("server", [server.url]), routeTo(slug, [server.url])]);
    const send = async (method: string, params: object): Promise<void> => {
      await eventually("the route", async () => {
        const response = await fetch(`${running.url}/mcp/${slug}/v1/mcp${query}`, {
          method: "POST",
          headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
          body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }),
        });
        await response.arrayBuffer();
        return response.status === 200;
      });
    };
    await send("tools/list", {});
    const known = async (name: string): Promise<unknown> => {
      controlPlane.batches.clear();
      await send("tools/call", { name });
      await eventually("a record", () => controlPlane.records().some(({ mcpTool }) => mcpTool === name));
      return controlPlane.records().find(({ mcpTool }) => mcpTool === name)?.mcpToolKnown;
    };
    expect(await known("fine")).toBe(null);
    expect(await known("rpc")).toBe(false);
    expect(await known("tool")).toBe(false);
    expect(await known("invented")).toBe(false);
    expect(await known("tool-249")).toBe(true);
    expect(await known("tool-250")).toBe(false);
    for (const cursor of ["250", "500", "750"]) await send("tools/list", { cursor });
    for (const name of ["tool-0", "tool-250", "tool-999", "tool"]) expect(await known(name)).toBe(true);
    expect(await known("invented")).toBe(false);
  },
);

test.each([
  ["a name of a megabyte", "x".repeat(1024 * 1024)],
  ["a name with NUL", "a\0b"],
  ["a name of lone surrogates", "\ud800\udfff\ud800"],
  ["a name like a property of every object", "__proto__"],
])("%s is recorded cut and as not known, by header or body, alone or in a batch", async (_what, name) => {
  controlPlane.batches.clear();
  const message = { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name } };
  const header = `=?base64?${Buffer.from(name.slice(0, 1_000)).toString("base64")}?=`;
  const bodies: [unknown, Record<string, string>][] = [
    [message, {}],
    [[message, message], {}],
    [
      { ...message, params: { name: "fine" } },
      { "mcp-method": "tools/call", "mcp-name": header },
    ],
    [message, { "mcp-method": "x".repeat(1_000), "mcp-name": "fine" }],
  ];
  for (const [body, headers] of bodies) {
    const answer = await fetch(`${running.url}/mcp/server/v1/mcp`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json", ...headers },
      body: JSON.stringify(body),
    });
    await answer.arrayBuffer();
  }
  await eventually("their records", () => controlPlane.records().length === bodies.length);
  for (const record of controlPlane.records()) {
    expect(JSON.stringify(record).length).toBeLessThan(2_500);
    expect(record.mcpToolKnown).not.toBe(true);
    expect([record.mcpTool?.length ?? 0, record.mcpMethod?.length ?? 0].every((length) => length <= 256)).toBe(true);
  }
});
