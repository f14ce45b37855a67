import {
  connectMcp,
  eventually,
  logIn,
  processesWith,
  startToolyard,
  type McpEra,
  type RunningToolyard,
} from "@toolyard/testing";
import { afterAll, beforeAll, expect, test } from "vitest";

/* Tools are called at the gateway's own address. */

let toolyard: RunningToolyard;
let token: string;
let url: string;
beforeAll(async () => {
  toolyard = await startToolyard({ env: { SAMPLE: "true" } });
  token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  url = `${toolyard.url}/mcp/everything/v1/mcp`;
  await eventually("the sample", async () => (await connectMcp("v1", url, token)).close().then(() => true));
});
afterAll(() => toolyard[Symbol.asyncDispose]());

test.each<McpEra>(["v1", "v2-sessions", "v2-stateless"])("an MCP client (%s) calls the sample there", async (era) => {
  const client = await connectMcp(era, url, token);
  expect(await client.listTools()).toContain("echo");
  expect(await client.callTool("echo", { message: "one address" })).toContain("one address");
  await client.close();
});

test("a proxy that is killed comes back by itself: calls meanwhile wait for it, or are told", async () => {
  const ping = () =>
    fetch(url, {
      method: "POST",
      headers: {
        authorization: `Bearer ${token}`,
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
      },
      body: '{"jsonrpc":"2.0","id":1,"method":"ping"}',
    });
  const before = (await ping()).status;
  // Its environment holds the DATA_DIR; only the proxy's has its credential.
  const proxyOf = async () => {
    const proxies = await processesWith("PROXY_CREDENTIAL=");
    return (await processesWith(toolyard.dataDir)).find((pid) => proxies.includes(pid));
  };
  const killed = (await proxyOf()) ?? expect.fail("There is no process of the proxy.");
  const others: string[] = [];
  process.kill(killed, "SIGKILL");
  await eventually("the same answer as before, of another", async () => {
    const { status, headers } = await ping();
    if (status !== before) others.push(`${status} ${headers.get("content-type")}`);
    const now = await proxyOf();
    return status === before && now !== undefined && now !== killed;
  });
  for (const other of others) expect(other).toMatch(/^50[23] application\/problem\+json$/);
});
