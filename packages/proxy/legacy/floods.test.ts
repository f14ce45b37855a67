import { connect, type Socket } from "node:net";
import type { IncomingMessage, ServerResponse } from "node:http";
import { connectMcp, eventually } from "@toolyard/testing";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startControlPlane, type FakeControlPlane } from "../fixtures/control-plane.ts";
import { routeTo, startProxy, type RunningProxy } from "../fixtures/proxy.ts";
import { startStreamServer } from "../fixtures/legacy-server.ts";

let controlPlane: FakeControlPlane;
let running: RunningProxy;
let token: string;
let count = 0;

beforeAll(async () => {
  controlPlane = await startControlPlane();
  running = await startProxy(controlPlane);
  token = await controlPlane.accessToken("ada");
});
afterAll(async () => {
  await running[Symbol.asyncDispose]();
  await controlPlane[Symbol.asyncDispose]();
});

async function route(url: string): Promise<string> {
  count += 1;
  controlPlane.setRoutes([routeTo(`flood${count}`, [url], { mcpPath: "/sse" })]);
  const version = () => (running.proxy.health() as unknown as { routes: { version: string } }).routes.version;
  await eventually("the route", () => version() === String(count));
  return `/mcp/flood${count}/v1/mcp`;
}

const MEBIBYTE = "x".repeat(1024 * 1024);

/** A server whose tool `flood` sends what `flood` writes to its caller's stream. */
async function startFlood(flood: (stream: ServerResponse, id: unknown) => void) {
  const streams = new Map<string, ServerResponse>();
  const answers: Record<string, unknown> = {
    initialize: {
      protocolVersion: "2024-11-05",
      capabilities: { tools: {} },
      serverInfo: { name: "flood", version: "1" },
    },
    "tools/list": { tools: [{ name: "flood", inputSchema: { type: "object" } }] },
    ping: {},
  };
  const say = (stream: ServerResponse | undefined, message: object) =>
    stream?.write(`event: message\ndata: ${JSON.stringify({ jsonrpc: "2.0", ...message })}\n\n`);
  const other = (request: IncomingMessage, response: ServerResponse): boolean => {
    const { searchParams } = new URL(request.url ?? "", "http://localhost");
    if (request.method === "GET") {
      const id = String(streams.size);
      streams.set(id, response.writeHead(200, { "content-type": "text/event-stream" }));
      response.write(`event: endpoint\ndata: /messages?id=${id}\n\n`);
      return true;
    }
    let body = "";
    request.on("data", (chunk) => (body += String(chunk)));
    request.on("end", () => {
      response.writeHead(202).end();
      const { id, method } = JSON.parse(body) as { id?: unknown; method: string };
      const stream = streams.get(searchParams.get("id") ?? "");
      if (method in answers) say(stream, { id, result: answers[method] });
      else if (method === "tools/call" && stream) flood(stream, id);
    });
    return true;
  };
  return startStreamServer({ path: "/never", other });
}

/** Calls the tool in a session of its own, and reads nothing of the answer. */
async function call(path: string): Promise<Socket> {
  const headers = {
    authorization: `Bearer ${token}`,
    "content-type": "application/json",
    accept: "application/json, text/event-stream",
  };
  const clientInfo = { name: "test", version: "1" };
  const params = { protocolVersion: "2025-06-18", capabilities: {}, clientInfo };
  const begun = await fetch(running.url + path, {
    method: "POST",
    headers,
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "initialize", params }),
  });
  await begun.text();
  const body = JSON.stringify({ jsonrpc: "2.0", id: 2, method: "tools/call", params: { name: "flood" } });
  const sent = { ...headers, "mcp-session-id": begun.headers.get("mcp-session-id"), "content-length": body.length };
  const socket = connect(running.port, "127.0.0.1").pause();
  const lines = Object.entries(sent).map(([name, value]) => `${name}: ${String(value)}\r\n`);
  socket.write(`POST ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n${lines.join("")}\r\n${body}`);
  return socket;
}

/** Together they are sent more than the bound and what the system's buffers take. */
const CLIENTS = 16;

test("clients that read nothing hold a bounded part of the memory that all callers of all tools share", async () => {
  let flooded = 0;
  await using server = await startFlood((stream, id) => {
    for (let number = 0; number < 30; number += 1)
      stream.write(
        `event: message\ndata: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"${MEBIBYTE}"}}\n\n`,
      );
    stream.write(
      `event: message\ndata: {"jsonrpc":"2.0","id":${JSON.stringify(id)},"result":{"content":[]}}\n\n`,
      () => (flooded += 1),
    );
  });
  const path = await route(server.url);
  const sockets = await Promise.all(Array.from({ length: CLIENTS }, () => call(path)));
  await eventually("all to be sent", () => flooded === CLIENTS);
  const lengths = await Promise.all(
    sockets.map(async (socket) => {
      let length = 0;
      for await (const chunk of socket) length += (chunk as Buffer).length;
      return length;
    }),
  );
  const whole = lengths.filter((length) => length > 30 * MEBIBYTE.length);
  expect(whole.length).toBeGreaterThan(4);
  expect(whole.length).toBeLessThan(CLIENTS);
  const client = await connectMcp("v1", running.url + path, token);
  expect(await client.listTools()).toEqual(["flood"]);
  await client.close();
});

test("what is nested too deep fails its call alone", async () => {
  const nested = "[".repeat(100_000) + "]".repeat(100_000);
  await using server = await startFlood((stream, id) => {
    stream.write(
      `event: message\ndata: {"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":${nested}}\n\n`,
    );
    stream.write(`event: message\ndata: {"jsonrpc":"2.0","id":${JSON.stringify(id)},"error":{"data":${nested}}}\n\n`);
  });
  for (const revision of ["v1", "v2-stateless"] as const) {
    const client = await connectMcp(revision, running.url + (await route(server.url)), token);
    await expect(client.callTool("flood", {})).rejects.toThrow("nested more than 256 levels deep");
    expect(await client.listTools()).toEqual(["flood"]);
    await client.close();
  }
});

test("answers to messages that never end hold no connection", async () => {
  let open = 0;
  let stream: ServerResponse | null = null;
  const other = (request: IncomingMessage, response: ServerResponse): boolean => {
    if (request.method === "GET") {
      stream = response.writeHead(200, { "content-type": "text/event-stream" });
      return response.write("event: endpoint\ndata: /messages\n\n");
    }
    let body = "";
    request.on("data", (chunk) => (body += String(chunk)));
    request.on("end", () => {
      open += 1;
      response.on("close", () => (open -= 1));
      response.writeHead(202).write("A");
      const { id, method } = JSON.parse(body) as { id?: number; method: string };
      const serverInfo = { name: "open", version: "1" };
      const result =
        method === "initialize"
          ? { protocolVersion: "2024-11-05", capabilities: { tools: {} }, serverInfo }
          : { tools: [] };
      if (id !== undefined)
        stream?.write(`event: message\ndata: ${JSON.stringify({ jsonrpc: "2.0", id, result })}\n\n`);
    });
    return true;
  };
  await using server = await startStreamServer({ path: "/never", other });
  const client = await connectMcp("v1", running.url + (await route(server.url)), token);
  for (let number = 0; number < 5; number += 1) expect(await client.listTools()).toEqual([]);
  expect(server.seen.filter(({ method }) => method === "POST").length).toBeGreaterThan(5);
  await eventually("no connection to be open", () => open === 0);
  await client.close();
});

test("events that never end hold a bounded part of it, and fail their own calls in words", async () => {
  const endless = `event: message\ndata: ${MEBIBYTE.repeat(9)}`;
  await using server = await startFlood((stream) => void stream.write(endless));
  const path = await route(server.url);
  const sockets = await Promise.all(Array.from({ length: 9 }, () => call(path)));
  const ended = sockets.map(async (socket) => {
    let text = "";
    for await (const chunk of socket) text += String(chunk);
    return text;
  });
  expect(await Promise.race(ended)).toContain("it sends too many long messages at once");
  for (const socket of sockets) socket.destroy();
  await Promise.allSettled(ended);
});
