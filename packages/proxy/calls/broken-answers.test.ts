import { connectMcp, type McpEra } from "@toolyard/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startControlPlane, type FakeControlPlane } from "../fixtures/control-plane.ts";
import { routeTo, startProxy, withTokens, type RunningProxy } from "../fixtures/proxy.ts";
import { startUpstream, type Upstream } from "../fixtures/upstream.ts";

/* Answers that have begun when their replica ends, or falls silent. */

const NOTE = 'data: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"begun"}}\n\n';
const ANSWER = 'data: {"jsonrpc":"2.0","id":7,"result":{"content":[]}}\n\n';
const BROKEN = "The tool's replica ended the connection before it answered. The call may have had effect.";
const SILENT = "The tool did not answer within 1 s.";
const TOKEN = "token-bridge-0";

let controlPlane: FakeControlPlane;
let running: RunningProxy;
let foreign: Upstream;
let bridge: Upstream;
let token: string;

/** Plays the server of both eras, but that its answer to a call is what the call's tool is named, and nothing after it. */
const playsServer: Parameters<typeof startUpstream>[0] = (request, response, body) => {
  const { id, method, params } = (body === "" ? {} : JSON.parse(body)) as {
    id?: unknown;
    method?: string;
    params?: { name: string };
  };
  const server = { serverInfo: { name: "breaks", version: "1" }, capabilities: { tools: {} } };
  const results: Record<string, object> = {
    initialize: { protocolVersion: "2025-11-25", ...server },
    "server/discover": { supportedVersions: ["2026-07-28"], ...server },
  };
  const result = results[method ?? ""];
  if (method === "tools/call") {
    response.writeHead(200, {
      "content-type": request.headers["x-json"] === undefined ? "text/event-stream" : "application/json",
    });
    response.write(params?.name, () => request.headers["x-silent"] ?? request.socket.destroy());
  } else if (result)
    response.setHeader("content-type", "application/json").end(JSON.stringify({ jsonrpc: "2.0", id, result }));
  else response.writeHead(method === undefined ? 405 : 202).end();
};

beforeAll(async () => {
  controlPlane = await startControlPlane();
  foreign = await startUpstream(playsServer);
  bridge = await startUpstream(playsServer, { token: TOKEN });
  controlPlane.setRoutes([
    routeTo("foreign", [foreign.url], { options: { timeoutSeconds: 1 } }),
    withTokens(routeTo("bridge", [bridge.url], { options: { timeoutSeconds: 1 } })),
  ]);
  running = await startProxy(controlPlane);
  token = await controlPlane.accessToken("ada");
});
afterAll(async () => {
  await running[Symbol.asyncDispose]();
  for (const upstream of [foreign, bridge]) await upstream.kill();
  await controlPlane[Symbol.asyncDispose]();
});

/** The answer to a call that is answered by these bytes; null at its end where it is cut off. */
async function ask(slug: string, bytes: string, headers: Record<string, string> = {}): Promise<string | null> {
  const answer = await fetch(`${running.url}/mcp/${slug}/v1/mcp`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, accept: "application/json, text/event-stream", ...headers },
    body: JSON.stringify({ jsonrpc: "2.0", id: 7, method: "tools/call", params: { name: bytes } }),
  });
  expect(answer.status).toBe(200);
  return answer.text().catch(() => null);
}
/** The messages of a stream of events. */
const messagesOf = (stream: string | null): unknown[] =>
  [...(stream ?? "").matchAll(/^data: (.+)$/gm)].map(([, data = ""]) => JSON.parse(data) as unknown);
const errorOf = (message: string) => ({ jsonrpc: "2.0", id: 7, error: { message: expect.stringContaining(message) } });

describe("an answer that has begun when its replica ends", () => {
  test.each(["foreign", "bridge"])("ends with the reason, after what came (%s)", async (slug) => {
    expect(messagesOf(await ask(slug, NOTE))).toMatchObject([{ method: "notifications/message" }, errorOf(BROKEN)]);
  });

  test("ends with the reason as an event of its own, after half an event", async () => {
    const half = 'data: {"jsonrpc":"2.0","id":7,"resu';
    expect(await ask("foreign", half)).toMatch(
      new RegExp(`^${half.replaceAll(/[{"]/g, "\\$&")}\n\ndata: \\{.*\\}\n\n$`),
    );
  });

  test("says so, too, when it falls silent", async () => {
    expect(messagesOf(await ask("foreign", NOTE, { "x-silent": "true" }))).toMatchObject([
      { method: "notifications/message" },
      errorOf(SILENT),
    ]);
  });

  test("is cut off where it can be resumed, which a bridge's cannot", async () => {
    const resumable = `id: 1\n${NOTE}`;
    expect(await ask("foreign", resumable)).toBeNull();
    expect(messagesOf(await ask("bridge", resumable))).toMatchObject([{}, errorOf(BROKEN)]);
  });

  test("is cut off where it was given, and where it is no stream of events", async () => {
    expect(await ask("foreign", ANSWER)).toBeNull();
    expect(await ask("foreign", '{"jsonrpc":"2.0","id":7,"resu', { "x-json": "true" })).toBeNull();
  });

  test.each<McpEra>(["v1", "v2-sessions", "v2-stateless"])(
    "is an error in words to the SDK's client (%s)",
    async (era) => {
      const client = await connectMcp(era, `${running.url}/mcp/foreign/v1/mcp`, token);
      await expect(client.callTool(NOTE, {})).rejects.toThrow(BROKEN);
      await client.close();
    },
  );
});
