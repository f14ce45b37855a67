import { setImmediate as turn } from "node:timers/promises";
import { partsOf } from "@toolyard/storage";
import { mergeInto, quantiles, type SparseHistogram } from "./histogram.ts";
import type { UsageBucketRow } from "./usage-record.ts";
import type { WindowShape } from "./usage-window.ts";

export interface UsageSummary {
  calls: number;
  errors: number;
  mcpFailures: number;
  errorRate: number;
  p50Ms: number | null;
  p95Ms: number | null;
  p99Ms: number | null;
  byMcpTool: { mcpTool: string; calls: number; errors: number; mcpFailures: number; p95Ms: number | null }[];
  series: { at: number; calls: number; errors: number; mcpFailures: number; p95Ms: number | null }[];
}

type Counts = Pick<UsageBucketRow, "calls" | "errors" | "mcpFailures">;
interface Sum extends Counts {
  histogram: SparseHistogram;
}

/** MCP tools whose percentiles are worked out in one turn of the event loop. */
const TOOLS_IN_A_TURN = 100;

/** Sums up the buckets of a window, in any order, each once. */
export function createSummary({ stepMs, steps }: WindowShape): {
  add(bucket: UsageBucketRow): void;
  finish(): Promise<UsageSummary>;
} {
  const byTool = new Map<string, Sum>();
  /** Of calls that a proxy says are still to come, its clock being ahead. */
  const newest = nothing();
  const byStep = new Map(steps.map((at, index) => [at, index === steps.length - 1 ? newest : nothing()]));
  return {
    add(bucket) {
      const { at, mcpTool } = bucket;
      const step = byStep.get(Math.floor(at / stepMs) * stepMs) ?? newest;
      addTo(step, bucket);
      if (mcpTool === "") return;
      let tool = byTool.get(mcpTool);
      if (!tool) byTool.set(mcpTool, (tool = nothing()));
      addTo(tool, bucket);
    },
    async finish() {
      const total = nothing();
      for (const step of byStep.values()) addTo(total, step);
      const [p50Ms = null, p95Ms = null, p99Ms = null] = quantiles(total.histogram, [0.5, 0.95, 0.99]);
      const { calls, errors, mcpFailures } = total;
      const series = [...byStep].map(([at, sum]) => ({ at, ...point(sum) }));
      const tools: UsageSummary["byMcpTool"] = [];
      for (const part of partsOf([...byTool], TOOLS_IN_A_TURN)) {
        for (const [mcpTool, sum] of part) tools.push({ mcpTool, ...point(sum) });
        await turn();
      }
      tools.sort((a, b) => b.calls - a.calls || (a.mcpTool < b.mcpTool ? -1 : 1));
      const errorRate = calls === 0 ? 0 : errors / calls;
      return { calls, errors, mcpFailures, errorRate, p50Ms, p95Ms, p99Ms, byMcpTool: tools, series };
    },
  };
}

function nothing(): Sum {
  return { calls: 0, errors: 0, mcpFailures: 0, histogram: {} };
}

function addTo(sum: Sum, { calls, errors, mcpFailures, histogram }: Sum): void {
  sum.calls += calls;
  sum.errors += errors;
  sum.mcpFailures += mcpFailures;
  mergeInto(sum.histogram, histogram);
}

function point({ histogram, ...counts }: Sum): Counts & { p95Ms: number | null } {
  return { ...counts, p95Ms: quantiles(histogram, [0.95])[0] ?? null };
}
