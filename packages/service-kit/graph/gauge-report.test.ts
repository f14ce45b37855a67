import { Registry } from "prom-client";
import { expect, test } from "vitest";
import { createGaugeReport } from "./gauge-report.ts";
import type { Gauge } from "./subgraph.ts";

const tasks = (status: string, value: number): Gauge => ({ name: "tasks", help: "Tasks.", labels: { status }, value });
const tools: Gauge = { name: "mcp_tools_total", help: "Tools ever.", labels: {}, value: 3 };

/** A report on what the returned lists hold when it is read; null: that subgraph does not answer. */
function reportOn(answers: (readonly Gauge[] | null)[]): () => Promise<string> {
  return createGaugeReport({
    registry: new Registry(),
    read: () => answers.map(async (answer) => answer ?? Promise.reject(new Error("away"))),
  });
}

test("shows each series as it is now, and none that is no longer counted", async () => {
  const answers = [[tasks("QUEUED", 2), tasks("RUNNING", 1)], [tools]];
  const report = reportOn(answers);
  const before = await report();
  expect(before).toContain('tasks{status="QUEUED"} 2\ntasks{status="RUNNING"} 1\n');
  expect(before).toContain("# TYPE mcp_tools_total counter\nmcp_tools_total 3\n");
  expect(before).toContain("toolyard_gauges_up 1\n");
  answers[0] = [tasks("QUEUED", 5)];
  const after = await report();
  expect(after).toContain('tasks{status="QUEUED"} 5\n');
  expect(after).not.toContain("RUNNING");
  expect(after).toContain("mcp_tools_total 3\n");
});

test("while one subgraph is away, its last counts stay, the others' go on, and toolyard_gauges_up says so", async () => {
  const answers: (readonly Gauge[] | null)[] = [[tasks("QUEUED", 2)], [tools]];
  const report = reportOn(answers);
  await report();
  answers[0] = null;
  answers[1] = [{ ...tools, value: 4 }];
  const without = await report();
  expect(without).toContain('tasks{status="QUEUED"} 2\n');
  expect(without).toContain("mcp_tools_total 4\n");
  expect(without).toContain("toolyard_gauges_up 0\n");
});
