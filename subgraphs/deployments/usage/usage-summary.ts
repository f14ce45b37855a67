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

/** Names whose percentiles are worked out in one turn of the event loop. */
const NAMES_IN_A_TURN = 100;

type NamedSum = Counts & { name: string; p95Ms: number | null };

/** Sums up buckets by name. */
export function createNamedSums(): {
  add(name: string, bucket: Sum): void;
  /** The most calls first. */
  finish(): Promise<NamedSum[]>;
} {
  const sums = new Map<string, Sum>();
  return {
    add(name, bucket) {
      let sum = sums.get(name);
      if (!sum) sums.set(name, (sum = nothing()));
      addTo(sum, bucket);
    },
    async finish() {
      const told: NamedSum[] = [];
      for (const part of partsOf([...sums], NAMES_IN_A_TURN)) {
        for (const [name, sum] of part) told.push({ name, ...point(sum) });
        await turn();
      }
      return told.sort((a, b) => b.calls - a.calls || (a.name < b.name ? -1 : 1));
    },
  };
}

/** Sums up the buckets of a window, in any order, each once. */
export function createSummary({ stepMs, steps }: WindowShape): {
  add(bucket: UsageBucketRow): void;
  finish(): Promise<UsageSummary>;
} {
  const byTool = createNamedSums();
  /** Of calls that a proxy says are still to come, its clock being ahead. */
  const newest = nothing();
  const byStep = new Map(steps.map((at, index) => [at, index === steps.length - 1 ? newest : nothing()]));
  return {
    add(bucket) {
      const { at, mcpTool } = bucket;
      const step = byStep.get(Math.floor(at / stepMs) * stepMs) ?? newest;
      addTo(step, bucket);
      if (mcpTool !== "") byTool.add(mcpTool, bucket);
    },
    async finish() {
      const total = nothing();
      for (const step of byStep.values()) addTo(total, step);
      const [p50Ms = null, p95Ms = null, p99Ms = null] = quantiles(total.histogram, [0.5, 0.95, 0.99]);
      const { calls, errors, mcpFailures } = total;
      const series = [...byStep].map(([at, sum]) => ({ at, ...point(sum) }));
      const byMcpTool = (await byTool.finish()).map(({ name: mcpTool, ...sum }) => ({ mcpTool, ...sum }));
      const errorRate = calls === 0 ? 0 : errors / calls;
      return { calls, errors, mcpFailures, errorRate, p50Ms, p95Ms, p99Ms, byMcpTool, series };
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
