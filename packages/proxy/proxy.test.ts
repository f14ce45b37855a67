import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { eventually } from "@toolyard/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startControlPlane, type FakeControlPlane } from "./fixtures/control-plane.ts";
import { routeTo, startProxy, type RunningProxy } from "./fixtures/proxy.ts";
import { sayName, startUpstream, type Upstream } from "./fixtures/upstream.ts";

let controlPlane: FakeControlPlane;
let running: RunningProxy;
let echo: Upstream;
let token: string;

beforeAll(async () => {
  controlPlane = await startControlPlane();
  echo = await startUpstream(sayName("echo"));
  controlPlane.setRoutes([routeTo("echo", [echo.url])]);
  running = await startProxy(controlPlane);
  token = await controlPlane.accessToken("ada");
});
afterAll(async () => {
  await running[Symbol.asyncDispose]();
  await echo[Symbol.asyncDispose]();
  await controlPlane[Symbol.asyncDispose]();
});

const call = (path: string, init: RequestInit = {}) =>
  fetch(`${running.url}${path}`, { ...init, headers: { authorization: `Bearer ${token}`, ...init.headers } });
const rpc = (method: string, name?: string) => ({
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, ...(name !== undefined && { params: { name } }) }),
});

describe("a call", () => {
  test("reaches its replica with the replica's token, and leaves one usage record", async () => {
    const answer = await call("/mcp/echo/v1/mcp?x=1", rpc("tools/call", "shout"));
    expect(answer.status).toBe(200);
    expect(await answer.json()).toEqual({ name: "echo" });
    const seen = echo.seen.at(-1);
    expect(seen).toMatchObject({ method: "POST", url: "/mcp?x=1", body: rpc("tools/call", "shout").body });
    expect(seen?.headers).toMatchObject({
      authorization: "Bearer token-echo-0",
      "x-toolyard-user": "ada",
      "x-request-id": answer.headers.get("x-request-id"),
      "x-forwarded-for": "127.0.0.1",
      "x-forwarded-host": new URL(running.url).host,
    });
    expect(seen?.headers.traceparent).toMatch(/^00-[\da-f]{32}-[\da-f]{16}-00$/);
    const record = await eventually("the record", () => controlPlane.records()[0]);
    expect(record).toMatchObject({
      toolId: "tool-echo",
      deploymentId: "deployment-echo",
      endpoint: "/mcp/{slug}/v1/mcp",
      method: "POST",
      mcpMethod: "tools/call",
      mcpTool: "shout",
      statusCode: 200,
      userId: "ada",
    });
  });
});
void httpRequest;
void connect;
void delay;
