import { connectMcp, eventually, graphqlClient, logIn, startToolyard } from "@toolyard/testing";
import { startOtlpReceiver, type ReceivedSpan } from "@toolyard/testing/otlp-receiver.ts";
import { expect, test } from "vitest";

test("a call at the gateway's address is one trace: the gateway's request, the call at the proxy, and the bridge's call of its server", async () => {
  const collector = await startOtlpReceiver();
  await using toolyard = await startToolyard({
    env: { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_BSP_SCHEDULE_DELAY: "100", SAMPLE: "true" },
  });
  const token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  const { query } = graphqlClient(toolyard.url, token);
  await eventually("the sample", async () => {
    const { deployments } = await query<{ deployments: { edges: { node: { health: string } }[] } }>(
      "{ deployments { edges { node { health } } } }",
    );
    return deployments.edges.some(({ node }) => node.health === "HEALTHY");
  });
  const client = await connectMcp("v1", `${toolyard.url}/mcp/everything/v1/mcp`, token);
  await client.callTool("echo", { message: "hi" });
  await client.close();
  const find = (name: string, kind: string, spanId?: string): ReceivedSpan | undefined =>
    collector.spans.find((span) => span.name === name && span.kind === kind && (spanId ?? span.spanId) === span.spanId);
  const atBridge = await eventually("the bridge's span", () => find("tools/call echo", "CLIENT"));
  const atProxy = await eventually("the proxy's", () => find("tools/call echo", "SERVER", atBridge.parentSpanId));
  const request = await eventually("the gateway's", () => find("POST /mcp/*", "SERVER", atProxy.parentSpanId));
  const spans = [request, atProxy, atBridge];
  expect(spans.map(({ resource }) => resource["service.name"])).toEqual([
    "toolyard-gateway",
    "toolyard-proxy",
    "toolyard-proxy",
  ]);
  expect(new Set(spans.map(({ traceId }) => traceId)).size).toBe(1);
  await collector.close();
});
