import { randomUUID } from "node:crypto";
import { PROXY_PERMISSIONS, createTokenSigner, encodeCursor, readSecretKey } from "@toolyard/service-kit";
import { graphqlClient } from "@toolyard/testing";
import { query, type Request } from "./asking.ts";
import { oldRecordId } from "./deployment-rows.ts";
import { HOT, deploymentId, toolId, userId } from "./names.ts";

const USAGE = `query ($id: ID!, $window: UsageWindow!) { tool(id: $id) { usage(window: $window) { calls p95Ms byMcpTool { mcpTool calls } series { calls p95Ms } } } }`;

export const usageRequests: Request[] = [
  ...["HOUR", "DAY", "WEEK", "MONTH"].map((window) =>
    query(`\`usage(window: ${window})\` of the tool with half of all calls`, "records", USAGE, () => ({
      id: toolId(HOT),
      window,
    })),
  ),
  query(
    "`usage(window: MONTH)` of 20 tools",
    "records",
    "{ tools(first: 20) { edges { node { usage(window: MONTH) { calls } } } } }",
  ),
  query(
    "a page of 100 usage records",
    "records",
    "{ usageRecords(first: 100) { edges { node { mcpTool statusCode user { username } } } } }",
  ),
  query(
    "a tool's usage records with `totalCount`",
    "records",
    "query ($id: ID!) { usageRecords(toolId: $id) { totalCount edges { node { mcpTool } } } }",
    () => ({ id: toolId(HOT) }),
  ),
  query(
    "a page of usage records of a tool near the end",
    "records",
    "query ($id: ID!, $after: String) { usageRecords(toolId: $id, first: 20, after: $after) { edges { node { mcpTool } } } }",
    () => ({ id: toolId(HOT), after: encodeCursor(oldRecordId) }),
  ),
  ...[1, 500, 5_000].map((count) =>
    recordUsage(`\`recordUsage\` of ${count.toLocaleString("en")}`, count, (index) => `mcp_tool_${index % 10}`),
  ),
  recordUsage("`recordUsage` of 5,000, each with an invented name", 5_000, () => `invented_${randomUUID()}`),
  recordUsage("`recordUsage` of 1 after that", 1, () => "mcp_tool_1"),
];

function recordUsage(what: string, count: number, nameOf: (index: number) => string): Request {
  return {
    what,
    of: "records",
    async ask({ toolyard }) {
      const signer = createTokenSigner({ secretKey: await readSecretKey(toolyard.dataDir) });
      const proxy = graphqlClient(toolyard.url, await signer.serviceToken("proxy", PROXY_PERMISSIONS, 600));
      const at = new Date().toISOString();
      const records = Array.from({ length: count }, (_, index) => ({
        at,
        toolId: toolId(HOT),
        deploymentId: deploymentId(HOT),
        endpoint: "/mcp/{slug}/v1/mcp",
        method: "POST",
        mcpMethod: "tools/call",
        mcpTool: nameOf(index),
        mcpToolKnown: !nameOf(index).startsWith("invented"),
        statusCode: 200,
        responseTimeMs: 12,
        userId: userId(HOT),
      }));
      await proxy.query("mutation ($batch: UsageBatchInput!) { recordUsage(batch: $batch) }", {
        batch: { id: randomUUID(), records },
      });
    },
  };
}
