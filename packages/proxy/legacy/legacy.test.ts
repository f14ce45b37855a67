import { request as httpRequest, type ServerResponse } from "node:http";
import { gzipSync } from "node:zlib";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { connectMcp, eventually, type McpEra } from "@toolyard/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startControlPlane, type FakeControlPlane } from "../fixtures/control-plane.ts";
import { routeTo, startProxy, type RunningProxy } from "../fixtures/proxy.ts";
import type { Route } from "@toolyard/routes";
import { startStreamServer } from "../fixtures/legacy-server.ts";

let controlPlane: FakeControlPlane;
let running: RunningProxy;
let token: string;
let other: string;
let count = 0;
const routes: Route[] = [];

beforeAll(async () => {
  controlPlane = await startControlPlane();
  running = await startProxy(controlPlane, { env: { ALLOW_PRIVATE_REMOTES: "true" } });
  token = await controlPlane.accessToken("ada");
  other = await controlPlane.accessToken("bob");
});
afterAll(async () => {
  await running[Symbol.asyncDispose]();
  await controlPlane[Symbol.asyncDispose]();
});

/** The base URL of a new route to servers. */
async function route(
  urls: readonly string[],
  fields: Partial<Route> = {},
  target: Partial<Route["targets"][number]> = {},
): Promise<string> {
  count += 1;
  const made = routeTo(`legacy${count}`, urls, { mcpPath: "/sse", ...fields });
  routes.push({ ...made, targets: made.targets.map((one) => ({ ...one, ...target })) });
  controlPlane.setRoutes(routes);
  const version = () => (running.proxy.health() as unknown as { routes: { version: string } }).routes.version;
  await eventually("the route", () => version() === String(count));
  return `${running.url}/mcp/legacy${count}/v1`;
}

const textOf = (result: unknown): string => (result as { content: { text: string }[] }).content[0]?.text ?? "";
async function connectV1(url: string, credential: string, transport: "http" | "sse"): Promise<Client> {
  const client = new Client({ name: "test", version: "1" }, { capabilities: { elicitation: {} } });
  client.setRequestHandler(ElicitRequestSchema, () => ({
    action: "accept",
    content: { name: credential === token ? "Ada" : "Bob" },
  }));
  const options = { requestInit: { headers: { authorization: `Bearer ${credential}` } } };
  const made =
    transport === "sse"
      ? new SSEClientTransport(new URL(url), options)
      : new StreamableHTTPClientTransport(new URL(url), options);
  // The SDK's own transports; their optional properties are declared without `undefined`.
  await client.connect(made as Transport);
  return client;
}

const remote = { remote: true, headers: [{ name: "X-Api-Key", value: "the-key-of-the-server" }] };

describe.each<McpEra>(["v1", "v2-sessions", "v2-stateless"])("the SDK's client of Streamable HTTP (%s)", (era) => {
  test.each([
    ["by the path of its launch", {}, {}, {}, "/sse"],
    ["by the usual path", {}, {}, {}, "/mcp"],
    ["by the usual path, where the launch leaves it so", {}, { mcpPath: "/mcp" }, {}, "/mcp"],
    ["of a server that takes any method for a GET", { anyMethod: true }, {}, {}, "/sse"],
    ["of a server below a path", { path: "/a/stream", endpoint: "/a/post" }, { mcpPath: "/a/stream" }, {}, "/a/stream"],
    ["of a remote server", {}, { paths: [] }, remote, "/mcp"],
    ["of a remote server by its own path", {}, { paths: [] }, remote, "/sse"],
    [
      "of a remote server whose URL is secret",
      { path: "/k3y/sse" },
      { paths: [], mcpPath: "/mcp" },
      { ...remote, mcpTarget: "/k3y/sse?token=s3cret" },
      "/mcp",
    ],
  ])("calls a server of HTTP+SSE %s", async (_name, server, fields, target, path) => {
    await using legacy = await startStreamServer(server);
    const base = await route([legacy.url], fields, target);
    const client = await connectMcp(era, base + path, token);
    expect(await client.listTools()).toContain("echo");
    for (const text of ["one", "two"]) expect(await client.callTool("echo", { text })).toBe(text);
    await Promise.all(
      Array.from({ length: 20 }, async (_, index) =>
        expect(await client.callTool("echo", { text: `${index}` })).toBe(`${index}`),
      ),
    );
    await client.close();
    if (Object.keys(target).length > 0)
      expect(new Set(legacy.seen.map(({ headers }) => headers["x-api-key"]))).toEqual(
        new Set(["the-key-of-the-server"]),
      );
    expect(legacy.seen.every(({ headers }) => headers.authorization === undefined)).toBe(true);
  });
});

const DIGITS = ["12345678901234567890", "9007199254740993", "1.0", "1e400", "-0"];

test.each(["sessions", "stateless"])("numbers and ids keep their digits both ways (%s)", async (era) => {
  const posted: string[] = [];
  let stream: ServerResponse | null = null;
  const numbers = `{"all":[${DIGITS.join(",")}]}`;
  // The SDK's server reads and writes its messages anew; this one does not.
  await using legacy = await startStreamServer({
    path: "/never",
    other(request, response) {
      if (request.method === "GET") {
        stream = response.writeHead(200, { "content-type": "text/event-stream" });
        response.write("event: endpoint\ndata: /messages\n\n");
        return true;
      }
      let body = "";
      request.on("data", (chunk) => (body += String(chunk)));
      request.on("end", () => {
        response.writeHead(202).end("Accepted");
        posted.push(body);
        const id = /"id": ?("[^"]*"|[^,}]*)/.exec(body)?.[1];
        const { method } = JSON.parse(body) as { method: string };
        const capabilities =
          '{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"raw","version":"1"}}';
        const answers: Record<string, string> = {
          initialize: `"result":${capabilities}`,
          "tools/call": `"result":{"content":[],"structuredContent":${numbers}}`,
          "prompts/get": `"error":{"code":-32000,"message":"no","data":${numbers}}`,
          "tools/list": `"result":{"tools":[]}`,
        };
        const answer = answers[method] ?? '"error":{"code":-32601,"message":"no such method"}';
        if (id !== undefined) stream?.write(`event: message\ndata: {"jsonrpc":"2.0","id":${id},${answer}}\n\n`);
      });
      return true;
    },
  });
  const base = await route([legacy.url]);
  const meta =
    era === "sessions"
      ? ""
      : `,"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}`;
  const ask = async (method: string, id: string, headers: Record<string, string>): Promise<[string, Response]> => {
    const answer = await fetch(`${base}/mcp`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${token}`,
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        ...headers,
      },
      body: `{"jsonrpc":"2.0","id":${id},"method":"${method}","params":{"name":"x","arguments":${numbers},"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"},"_meta":{"x":1.0${meta}}}}`,
    });
    return [await answer.text(), answer];
  };
  let headers: Record<string, string> = {};
  if (era === "sessions") {
    const [text, opened] = await ask("initialize", "12345678901234567890", {});
    expect(text).toContain('"id":12345678901234567890,');
    headers = { "mcp-session-id": opened.headers.get("mcp-session-id") ?? "" };
  }
  for (const [method, id] of [
    ["tools/call", "9007199254740993"],
    ["prompts/get", "12345678901234567891"],
  ] as const) {
    const modern = { "mcp-protocol-version": "2026-07-28", "mcp-method": method, "mcp-name": "x" };
    const [text] = await ask(method, id, era === "sessions" ? headers : modern);
    expect(text).toContain(`"id":${id},`);
    expect(text).toContain(numbers);
    expect(posted.find((body) => body.includes(method))).toContain(`"arguments":${numbers}`);
  }
});

describe("a session of a server of HTTP+SSE", () => {
  test("is its caller's: what it keeps and asks is nobody else's, and ends with it", async () => {
    await using legacy = await startStreamServer();
    const base = await route([legacy.url]);
    const [ada, bob] = [await connectV1(`${base}/mcp`, token, "http"), await connectV1(`${base}/mcp`, other, "http")];
    for (const expected of ["1", "2"]) expect(textOf(await ada.callTool({ name: "count" }))).toBe(expected);
    expect(textOf(await bob.callTool({ name: "count" }))).toBe("1");
    const [first, second] = await Promise.all([ada.callTool({ name: "ask" }), bob.callTool({ name: "ask" })]);
    expect([textOf(first), textOf(second)]).toEqual(["Hello Ada", "Hello Bob"]);
    const progress: number[] = [];
    await ada.callTool({ name: "progress" }, undefined, {
      onprogress: (it) => progress.push(it.progress),
    });
    expect(progress).toEqual([1]);
    const before = legacy.streams();
    await (ada.transport as StreamableHTTPClientTransport).terminateSession();
    await eventually("one stream less", () => legacy.streams() < before);
    await ada.close();
    await bob.close();
  });

  test("whose stream is lost fails its calls at once, in words, and is opened anew", async () => {
    await using legacy = await startStreamServer();
    const base = await route([legacy.url]);
    const client = await connectV1(`${base}/mcp`, token, "http");
    const call = client.callTool({ name: "hang" });
    await eventually("the call", () => legacy.seen.some(({ body }) => body.includes('"hang"')));
    legacy.cut();
    await expect(call).rejects.toThrow("the connection to the server broke; the call was not repeated");
    const again = await connectV1(`${base}/mcp`, token, "http");
    expect(textOf(await again.callTool({ name: "echo", arguments: { text: "again" } }))).toBe("again");
    await again.close();
    await client.close();
  });

  test("counts in usage as what it is", async () => {
    await using legacy = await startStreamServer();
    const base = await route([legacy.url]);
    const client = await connectMcp("v2-stateless", `${base}/mcp`, token);
    await client.callTool("fail", {});
    await client.close();
    const records = () =>
      controlPlane.records().filter(({ toolId, mcpTool }) => toolId === `tool-legacy${count}` && mcpTool === "fail");
    await eventually("the record", () => records().length === 1);
    expect(records()[0]).toMatchObject({ endpoint: "/mcp/{slug}/v1/sse", statusCode: 200, mcpFailure: "TOOL_ERROR" });
  });
});

test("when its route goes, its streams go", async () => {
  await using legacy = await startStreamServer();
  const base = await route([legacy.url]);
  const client = await connectMcp("v2-stateless", `${base}/mcp`, token);
  await client.callTool("echo", { text: "x" });
  await client.close();
  expect(legacy.streams()).toBeGreaterThan(0);
  routes.pop();
  count += 1;
  controlPlane.setRoutes(routes);
  await eventually("no stream", () => legacy.streams() === 0);
});

describe("a client of HTTP+SSE", () => {
  test.each([
    ["its own path", {}, {}, "/sse"],
    ["the usual path of a remote server", { paths: [] }, remote, "/mcp"],
    ["the path that the launch does not name", { mcpPath: "/mcp" }, {}, "/sse"],
  ])("is served through the proxy by %s", async (_name, fields, target, path) => {
    await using legacy = await startStreamServer();
    await using second = await startStreamServer();
    const base = await route([legacy.url, second.url], fields, target);
    for (let round = 0; round < 4; round += 1) {
      const client = await connectV1(base + path, token, "sse");
      expect(textOf(await client.callTool({ name: "echo", arguments: { text: "hi" } }))).toBe("hi");
      expect(textOf(await client.callTool({ name: "ask" }))).toBe("Hello Ada");
      await client.close();
    }
    await eventually("no stream", () => legacy.streams() + second.streams() === 0);
  });

  test.each([
    ["that runs here", {}, {}],
    ["that runs elsewhere", { paths: [] }, remote],
  ])("of a server %s and redirects to its stream is led there", async (_name, fields, target) => {
    await using legacy = await startStreamServer({
      path: "/sse/",
      other(request, response) {
        if (request.url !== "/sse") return false;
        response.writeHead(307, { location: "/sse/" }).end();
        return true;
      },
    });
    const base = await route([legacy.url], fields, target);
    // Before anything is known of the server, and after.
    for (const transport of ["sse", "http", "sse"] as const) {
      const client = await connectV1(`${base}/sse`, token, transport);
      expect(textOf(await client.callTool({ name: "echo", arguments: { text: "hi" } }))).toBe("hi");
      await client.close();
    }
  });

  test("posts to its own stream only: another's is as if there were none, and no port is shown", async () => {
    await using legacy = await startStreamServer({ endpoint: "/messages" });
    const base = await route([legacy.url]);
    const ended = new AbortController();
    const stream = await fetch(`${base}/sse`, {
      headers: { authorization: `Bearer ${token}`, accept: "text/event-stream" },
      signal: ended.signal,
    });
    const reader = stream.body?.getReader();
    const event = Buffer.from((await reader?.read())?.value ?? []).toString();
    const endpoint = /^data: (.*)$/m.exec(event)?.[1] ?? "";
    expect(endpoint).toMatch(/^\/mcp\/legacy\d+\/v1\/messages\?sessionId=[\w-]+&toolyard-stream=[\w-]+$/);
    const post = async (url: string, credential: string) =>
      (
        await fetch(new URL(url, running.url), {
          method: "POST",
          headers: { authorization: `Bearer ${credential}`, "content-type": "application/json" },
          body: '{"jsonrpc":"2.0","id":1,"method":"ping"}',
        })
      ).status;
    expect(await post(endpoint, other)).toBe(404);
    expect(await post(endpoint.replace(/&toolyard-stream=.*/, ""), other)).toBe(404);
    expect(await post(endpoint.replace(/&toolyard-stream=.*/, ""), token)).toBe(404);
    expect(legacy.seen.filter(({ method }) => method === "POST")).toEqual([]);
    expect(await post(endpoint, token)).toBe(202);
    expect(Buffer.from((await reader?.read())?.value ?? []).toString()).toContain('"id":1');
    ended.abort();
    // With the last such stream its path is one like others.
    const before = legacy.seen.length;
    await eventually("a message that reaches the server", async () => {
      await post(endpoint.replace(/&toolyard-stream=.*/, ""), token);
      return legacy.seen.length > before;
    });
  });

  test.each(["/messages/", "//messages", "/%6dessages", "/Messages", "/messages;x=1", "/messages%2F", "\\messages"])(
    "is not posted to by another name of its path: %s",
    async (name) => {
      await using legacy = await startStreamServer({ endpoint: "/messages" });
      const base = await route([legacy.url]);
      const client = await connectMcp("v1", `${base}/mcp`, token);
      await client.listTools();
      const url = legacy.seen.find(({ method }) => method === "POST")?.url ?? "";
      const before = legacy.seen.length;
      const target = `${new URL(base).pathname}${name}?${url.split("?")[1]}`;
      const body = '{"jsonrpc":"2.0","id":1,"method":"ping"}';
      const status = (method: string) =>
        new Promise((resolve, reject) =>
          httpRequest(`${running.url}`, {
            method,
            path: target,
            headers: { authorization: `Bearer ${other}`, "content-type": "application/json" },
          })
            .on("response", (answer) => resolve(answer.resume().statusCode))
            .on("error", reject)
            .end(body),
        );
      expect(await status("POST")).toBe(404);
      expect(await status("PUT")).toBe(404);
      expect(legacy.seen).toHaveLength(before);
      await client.close();
    },
  );

  test("whose server compresses what says where to post is told so, and gets none of it", async () => {
    await using legacy = await startStreamServer({
      path: "/never",
      other(request, response) {
        if (request.method !== "GET") return false;
        const stream = "event: endpoint\ndata: http://127.0.0.1:9/messages\n\n";
        response.writeHead(200, { "content-type": "text/event-stream", "content-encoding": "gzip" });
        return response.write(gzipSync(stream));
      },
    });
    const base = await route([legacy.url]);
    const headers = { authorization: `Bearer ${token}`, accept: "text/event-stream", "accept-encoding": "gzip" };
    const stream = await fetch(`${base}/sse`, { headers });
    expect(stream.status).toBe(502);
    expect(await stream.text()).toContain("compresses its event stream");
  });

  test("whose server names an endpoint elsewhere, once or again, sends nothing there", async () => {
    await using elsewhere = await startStreamServer();
    await using legacy = await startStreamServer({
      path: "/never",
      other(request, response) {
        if (request.method !== "GET") return false;
        response.writeHead(200, { "content-type": "text/event-stream" });
        const endpoint = `event: endpoint\ndata: ${elsewhere.url}/messages?sessionId=1\n\n`;
        response.write(`\ufeff${endpoint}event: message\ndata: {}\n\n${endpoint}`);
        return true;
      },
    });
    const base = await route([legacy.url]);
    const ended = new AbortController();
    const stream = await fetch(`${base}/sse`, {
      headers: { authorization: `Bearer ${token}`, accept: "text/event-stream" },
      signal: ended.signal,
    });
    const event = Buffer.from((await stream.body?.getReader().read())?.value ?? []).toString();
    expect(event).not.toContain(String(elsewhere.port));
    ended.abort();
    await expect(connectMcp("v1", `${base}/mcp`, token)).rejects.toThrow();
    expect(elsewhere.seen).toEqual([]);
  });
});

test("a server that refuses the newer transport and has no stream is answered as it answers, and not asked at each call", async () => {
  await using legacy = await startStreamServer({ path: "/never" });
  const base = await route([legacy.url], { mcpPath: "/mcp" });
  for (let round = 0; round < 5; round += 1) {
    const answer = await fetch(`${base}/mcp`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}` },
      body: '{"jsonrpc":"2.0","id":1,"method":"tools/list"}',
    });
    expect([answer.status, answer.headers.get("content-type"), await answer.text()]).toEqual([
      404,
      "text/html",
      "<h1>Cannot do that</h1>",
    ]);
  }
  expect(legacy.seen.filter(({ method }) => method === "GET")).toHaveLength(2);
});
