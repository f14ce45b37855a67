import {
  newId,
  parseInput,
  parsePage,
  toConnection,
  type Caller,
  type Connection,
  type PageArguments,
} from "@toolyard/service-kit";
import { z } from "zod";
import { mergeInto, quantiles, type SparseHistogram } from "./histogram.ts";
import type { UsageBucketRow, UsageRecord } from "./usage-record.ts";
import type { UsageStore, UsageSubject } from "./usage-store.ts";
import { windowShape, type UsageWindow } from "./usage-window.ts";

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

/** What is told of the calls through the proxy. */
export interface UsageService {
  /** True also for a batch that came before. */
  record(caller: Caller, batch: unknown): Promise<boolean>;
  summary(caller: Caller, subject: UsageSubject, window: UsageWindow): Promise<UsageSummary>;
  list(
    caller: Caller,
    filter: { toolId?: string | undefined; deploymentId?: string | undefined },
    page: PageArguments,
  ): Promise<Connection<UsageRecord>>;
}

const MAX_RECORDS = 5_000;
const short = z.string().transform((text) => text.slice(0, 255));
const nullableShort = short.nullish().transform((text) => text ?? null);

const usageBatch = z.object({
  id: z.string().min(1).max(64),
  records: z
    .array(
      z.object({
        at: z.number(),
        toolId: z.string().min(1).max(64),
        deploymentId: z.string().min(1).max(64),
        endpoint: short,
        method: short,
        mcpMethod: nullableShort,
        mcpTool: nullableShort,
        statusCode: z.number().int().min(100).max(999),
        mcpFailure: z
          .enum(["RPC_ERROR", "TOOL_ERROR"])
          .nullish()
          .transform((value) => value ?? null),
        responseTimeMs: z.number().min(0),
        userId: z
          .string()
          .max(64)
          .nullish()
          .transform((text) => text ?? null),
      }),
    )
    .max(MAX_RECORDS, `must be at most ${MAX_RECORDS}`),
});

export function createUsageService(options: { store: UsageStore; now: () => number }): UsageService {
  const { store, now } = options;
  return {
    async record(caller, given) {
      caller.require("internal:usage");
      const batch = parseInput(usageBatch, given, "batch");
      await store.record(
        batch.id,
        batch.records.map((record) => ({ id: newId(), ...record })),
        now(),
      );
      return true;
    },
    async summary(caller, subject, window) {
      caller.require("usage:read");
      const shape = windowShape(window, now());
      const buckets = await store.buckets(subject, shape.resolutionMs, shape.steps[0] ?? 0);
      const total = sum(buckets);
      const [p50Ms = null, p95Ms = null, p99Ms = null] = quantiles(total.histogram, [0.5, 0.95, 0.99]);
      const byTool = Map.groupBy(
        buckets.filter(({ mcpTool }) => mcpTool !== ""),
        ({ mcpTool }) => mcpTool,
      );
      const byStep = Map.groupBy(buckets, ({ at }) => Math.floor(at / shape.stepMs) * shape.stepMs);
      return {
        calls: total.calls,
        errors: total.errors,
        mcpFailures: total.mcpFailures,
        errorRate: total.calls === 0 ? 0 : total.errors / total.calls,
        p50Ms,
        p95Ms,
        p99Ms,
        byMcpTool: [...byTool]
          .map(([mcpTool, rows]) => ({ mcpTool, ...point(rows) }))
          .toSorted((a, b) => b.calls - a.calls || (a.mcpTool < b.mcpTool ? -1 : 1)),
        series: shape.steps.map((at) => ({ at, ...point(byStep.get(at) ?? []) })),
      };
    },
    async list(caller, filter, given) {
      caller.require("usage:read");
      const page = parsePage(given);
      return toConnection(store.page(filter, page), page, ({ id }) => id);
    },
  };
}

type Counts = Pick<UsageBucketRow, "calls" | "errors" | "mcpFailures">;

function sum(buckets: readonly UsageBucketRow[]): Counts & { histogram: SparseHistogram } {
  const total = { calls: 0, errors: 0, mcpFailures: 0, histogram: {} };
  for (const { calls, errors, mcpFailures, histogram } of buckets) {
    total.calls += calls;
    total.errors += errors;
    total.mcpFailures += mcpFailures;
    mergeInto(total.histogram, histogram);
  }
  return total;
}

function point(buckets: readonly UsageBucketRow[]): Counts & { p95Ms: number | null } {
  const { histogram, ...counts } = sum(buckets);
  return { ...counts, p95Ms: quantiles(histogram, [0.95])[0] ?? null };
}
