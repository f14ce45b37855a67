import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { spawn, type ChildProcess } from "node:child_process";
import { bridgeCommand, handOver, pipesFor } from "@toolyard/bridge";
import { connectMcp, eventually, freePort, type McpEra } from "@toolyard/testing";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startControlPlane, type FakeControlPlane } from "./fixtures/control-plane.ts";
import type { Route } from "@toolyard/routes";
import { routeTo, startProxy, withTokens, type RunningProxy } from "./fixtures/proxy.ts";

let controlPlane: FakeControlPlane;
let running: RunningProxy;
let token: string;
let route: Route;
const bridges: ChildProcess[] = [];

beforeAll(async () => {
  const everything = join(
    dirname(createRequire(import.meta.url).resolve("@modelcontextprotocol/server-everything/package.json")),
    "dist/index.js",
  );
  controlPlane = await startControlPlane();
  const urls: string[] = [];
  for (let replica = 0; replica < 2; replica += 1) {
    const port = await freePort();
    const { args } = bridgeCommand({ host: "127.0.0.1", port, command: process.execPath, args: [everything, "stdio"] });
    const bridge = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "ignore", ...pipesFor(1)], env: {} });
    const handover = {
      token: `token-everything-${replica}`,
      environment: {},
      setpriv: null,
      temporaryDirectory: tmpdir(),
    };
    handOver(bridge, [JSON.stringify(handover)]);
    bridges.push(bridge);
    urls.push(`http://127.0.0.1:${port}`);
    await eventually("the bridge", async () => (await fetch(`http://127.0.0.1:${port}/mcp`)).status > 0);
  }
  route = withTokens(routeTo("everything", urls));
  controlPlane.setRoutes([route]);
  running = await startProxy(controlPlane);
  token = await controlPlane.accessToken("ada");
});
afterAll(async () => {
  await running[Symbol.asyncDispose]();
  for (const bridge of bridges) bridge.kill("SIGTERM");
  await controlPlane[Symbol.asyncDispose]();
});

test.each<McpEra>(["v1", "v2-sessions", "v2-stateless"])(
  "the SDK's client (%s) lists and calls tools of a server with two replicas",
  async (era) => {
    const client = await connectMcp(era, `${running.url}/mcp/everything/v1/mcp`, token);
    expect(await client.listTools()).toContain("echo");
    for (const message of ["one", "two", "three", "four"]) {
      expect(await client.callTool("echo", { message })).toContain(message);
    }
    await client.close();
    await eventually("its usage", () => {
      const calls = controlPlane.records().filter(({ mcpTool }) => mcpTool === "echo");
      return (
        calls.length >= 4 &&
        calls.every(({ statusCode, mcpMethod }) => statusCode === 200 && mcpMethod === "tools/call")
      );
    });
    // By its session, or by what each request says; a call also after the end of all sessions of before.
    const asked = controlPlane.records().filter(({ mcpMethod }) => mcpMethod !== null);
    for (const { client: named } of asked) expect(named).toEqual({ name: "toolyard-tests", version: "1" });
    controlPlane.batches.clear();
  },
);

test.each<McpEra>(["v1", "v2-sessions", "v2-stateless"])(
  "a call of the SDK's client (%s) that is refused throws what the proxy says, and the next one goes on",
  async (era) => {
    const client = await connectMcp(era, `${running.url}/mcp/everything/v1/mcp`, token);
    expect(await client.callTool("echo", { message: "one" })).toContain("one");
    await expect(client.callTool("echo", { message: "a".repeat(10 * 1024 * 1024) })).rejects.toThrow(
      "A call's body has at most 10 MiB. Send less at once.",
    );
    controlPlane.setRoutes([{ ...route, options: { ...route.options, maxConcurrentCalls: 0 } }]);
    await eventually("the refusal", async () => {
      const said = await client.callTool("echo", { message: "two" }).catch((error: unknown) => String(error));
      return said.includes("everything answers 0 calls at a time. Try again.");
    });
    controlPlane.setRoutes([route]);
    await eventually("its answer", async () => (await client.callTool("echo", { message: "three" })).includes("three"));
    await client.close();
  },
);
