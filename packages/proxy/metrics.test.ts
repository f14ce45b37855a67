import { expect, test } from "vitest";
import { createProxyMetrics } from "./metrics.ts";

const none = () => 0;

function newMetrics(nameOf: (deploymentId: string) => string | undefined) {
  const spool = () => ({ batches: 0, bytes: 0, dropped: 0 });
  const gauges = { outstanding: none, streams: none, routes: none, refusedRoutes: none, connected: () => true, spool };
  const metrics = createProxyMetrics({ ...gauges, nameOf });
  /** Of the series that counted. */
  const calls = async () => {
    const text = await metrics.registry.getSingleMetricAsString("mcp_tool_calls_total");
    return text.split("\n").filter((line) => !line.startsWith("#") && !line.endsWith(" 0"));
  };
  return { ...metrics, calls };
}

test("calls are counted by tool, deployment and outcome", async () => {
  const metrics = newMetrics((id) => `weather-${id}`);
  metrics.toolCall("weather", "a", false);
  metrics.toolCall("weather", "b", false);
  metrics.toolCall("weather", "b", true);
  metrics.toolCall("weather", "b", true);
  expect(await metrics.calls()).toEqual([
    'mcp_tool_calls_total{tool="weather",deployment="weather-a",outcome="ok"} 1',
    'mcp_tool_calls_total{tool="weather",deployment="weather-b",outcome="ok"} 1',
    'mcp_tool_calls_total{tool="weather",deployment="weather-b",outcome="error"} 2',
  ]);
});

test("deployments that ended are shown no more, whatever their number; calls that outlast them are not lost", async () => {
  const running = new Set<string>();
  const metrics = newMetrics((id) => (running.has(id) ? `weather-${id}` : undefined));
  for (let n = 0; n < 1_000; n += 1) {
    running.add(String(n));
    metrics.toolCall("weather", String(n), false);
    running.delete(String(n));
    metrics.deploymentLeft(String(n));
  }
  expect(await metrics.calls()).toEqual([]);
  metrics.toolCall("weather", "999", false);
  const rest = 'mcp_tool_calls_total{tool="other tools",deployment="other deployments",outcome="ok"}';
  expect(await metrics.calls()).toEqual([`${rest} 1`]);
  // The same deployment, started again.
  running.add("7");
  metrics.toolCall("weather", "7", false);
  expect(await metrics.calls()).toContain('mcp_tool_calls_total{tool="weather",deployment="weather-7",outcome="ok"} 1');
});

test("of more deployments than are told apart the others are counted together, until one of them ends", async () => {
  const metrics = newMetrics((id) => `weather-${id}`);
  for (let n = 0; n < 203; n += 1) metrics.toolCall("weather", String(n), false);
  const rest = 'mcp_tool_calls_total{tool="other tools",deployment="other deployments",outcome="ok"}';
  expect(await metrics.calls()).toHaveLength(201);
  expect(await metrics.calls()).toContain(`${rest} 3`);
  metrics.deploymentLeft("0");
  metrics.toolCall("weather", "202", false);
  // Calls that were counted together stay: a counter never falls.
  expect(await metrics.calls()).toContain(`${rest} 3`);
  expect(await metrics.calls()).toContain(
    'mcp_tool_calls_total{tool="weather",deployment="weather-202",outcome="ok"} 1',
  );
});
