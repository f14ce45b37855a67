import type { Page, Rows } from "@toolyard/service-kit";
import type { LongWork } from "@toolyard/storage";
import type { ReportedCall, UsageBucketRow, UsagePartyRow, UsageRecord } from "./usage-record.ts";

/** Whose calls: of tools or of deployments, all of one sort. */
export interface UsageSubjects {
  by: "toolId" | "deploymentId";
  ids: readonly string[];
}

/** Calls through proxies: each for itself for a while, and summed up in buckets. */
export interface UsageStore {
  /**
   * Records a batch and adds it to its buckets, once for each batch id. Answers whether it was new. The cost depends on
   * the batch alone. Yields to the event loop in between.
   */
  record(batchId: string, calls: readonly ReportedCall[], at: number): Promise<boolean>;
  /** Buckets of one resolution that begin at `from` or later, in parts of a bounded size with turns of the event loop between them. */
  buckets(subjects: UsageSubjects, resolutionMs: number, from: number): AsyncIterable<UsageBucketRow[]>;
  /** The same by user and by client: each call is in both. */
  parties(subjects: UsageSubjects, resolutionMs: number, from: number): AsyncIterable<UsagePartyRow[]>;
  /** How often each MCP tool of a tool was called on days (UTC) that begin at `from` or later, or hold it. */
  callsByMcpTool(toolId: string, from: number): Promise<Map<string, number>>;
  page(filter: { toolId?: string | undefined; deploymentId?: string | undefined }, page: Page): Rows<UsageRecord>;
  /** Removes records and batches recorded before `before`, and buckets that no window reads `now`. Ends early when `signal` aborts. */
  trim(options: { before: number; now: number }, work?: LongWork): Promise<number>;
}
