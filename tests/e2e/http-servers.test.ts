import { fileURLToPath } from "node:url";
import { startStreamServer } from "@toolyard/proxy/fixtures/legacy-server.ts";
import {
  connectMcp,
  eventually,
  graphqlClient,
  logIn,
  processesWith,
  startToolyard,
  type McpEra,
  type RunningToolyard,
} from "@toolyard/testing";
import { afterAll, beforeAll, expect, test } from "vitest";

/* Servers of the transport of 2024-11-05, from registration to usage and the end of their tool. */

const server = fileURLToPath(new URL("fixtures/old-transport.ts", import.meta.url));

let toolyard: RunningToolyard;
let token: string;
beforeAll(async () => {
  toolyard = await startToolyard({ env: { ALLOW_PRIVATE_REMOTES: "true" } });
  token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
});
afterAll(async () => {
  await toolyard[Symbol.asyncDispose]();
  expect(await processesWith(toolyard.dataDir)).toEqual([]);
});

const ask = <Data>(query: string, variables: Record<string, unknown> = {}) =>
  graphqlClient(toolyard.url, token).query<Data>(query, variables);

async function deploy(name: string, launch: Record<string, unknown>) {
  const { createTool } = await ask<{ createTool: { id: string; slug: string } }>(
    "mutation ($input: CreateToolInput!) { createTool(input: $input) { id slug } }",
    { input: { name, description: name, launch } },
  );
  const { deployTool } = await ask<{ deployTool: { id: string; mcpUrl: string } }>(
    "mutation ($input: DeployToolInput!) { deployTool(input: $input) { id mcpUrl } }",
    { input: { toolId: createTool.id } },
  );
  await eventually(
    "HEALTHY",
    async () => {
      const { deployment } = await ask<{ deployment: { status: string; health: string } }>(
        "query ($id: ID!) { deployment(id: $id) { status health } }",
        { id: deployTool.id },
      );
      return deployment.status === "RUNNING" && deployment.health === "HEALTHY";
    },
    30_000,
  );
  return { ...createTool, ...deployTool, toolId: createTool.id };
}

async function callInAllEras(urls: readonly string[]): Promise<void> {
  for (const url of urls)
    for (const era of ["v1", "v2-sessions", "v2-stateless"] satisfies McpEra[]) {
      const client = await connectMcp(era, url, token);
      expect(await client.callTool("echo", { text: `${era} at ${url}` })).toBe(`${era} at ${url}`);
      await client.close();
    }
}

test("one that Toolyard starts is live and called by every client, and ends with its tool", async () => {
  const launch = { http: { command: process.execPath, args: [server], path: "/sse" } };
  const { slug, mcpUrl, toolId, id } = await deploy("Old transport", launch);
  await callInAllEras([mcpUrl, `${toolyard.proxyUrl}/mcp/${slug}/v1/mcp`]);
  const client = await connectMcp("v2-stateless", mcpUrl, token);
  await client.callTool("fail", {});
  await client.close();
  await eventually(
    "its failure in usage",
    async () => {
      const { tool } = await ask<{ tool: { usage: { byMcpTool: { mcpTool: string; mcpFailures: number }[] } } }>(
        "query ($id: ID) { tool(id: $id) { usage(window: HOUR) { byMcpTool { mcpTool mcpFailures } } } }",
        { id: toolId },
      );
      return tool.usage.byMcpTool.some(({ mcpTool, mcpFailures }) => mcpTool === "fail" && mcpFailures === 1);
    },
    20_000,
  );
  expect(await processesWith("old-transport.ts")).not.toEqual([]);
  await ask("mutation ($id: ID!) { deleteTool(id: $id) { deletedAt } }", { id: toolId });
  await eventually(
    "its end",
    async () => {
      const { deployment } = await ask<{ deployment: { status: string } }>(
        "query ($id: ID!) { deployment(id: $id) { status } }",
        { id },
      );
      return deployment.status === "STOPPED" && (await processesWith("old-transport.ts")).length === 0;
    },
    30_000,
  );
});

test("one that runs elsewhere is, too, and keeps no stream when its tool is gone", async () => {
  await using elsewhere = await startStreamServer();
  const headers = [{ name: "X-Api-Key", value: "the-key", secret: true }];
  const { slug, toolId, mcpUrl } = await deploy("Old and elsewhere", {
    remote: { url: `${elsewhere.url}/sse`, headers },
  });
  await callInAllEras([mcpUrl, `${toolyard.proxyUrl}/mcp/${slug}/v1/mcp`]);
  expect(new Set(elsewhere.seen.map((request) => request.headers["x-api-key"]))).toEqual(new Set(["the-key"]));
  await ask("mutation ($id: ID!) { deleteTool(id: $id) { deletedAt } }", { id: toolId });
  await eventually("no stream", () => elsewhere.streams() === 0, 40_000);
});
