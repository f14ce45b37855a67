import type { Page, Rows } from "@toolyard/service-kit";
import type { UsageBucketRow, UsageRecord } from "./usage-record.ts";

export type UsageSubject = { toolId: string } | { deploymentId: string };

/** Calls through proxies: each for itself for a while, and summed up in buckets. */
export interface UsageStore {
  /** Records a batch and adds it to its buckets, once for each batch id. Answers whether it was new. */
  record(batchId: string, records: readonly UsageRecord[], at: number): Promise<boolean>;
  /** Buckets of one resolution that begin at `from` or later. */
  buckets(subject: UsageSubject, resolutionMs: number, from: number): Promise<UsageBucketRow[]>;
  page(filter: { toolId?: string | undefined; deploymentId?: string | undefined }, page: Page): Rows<UsageRecord>;
  /** Removes what is older: records and batches recorded before `before`, buckets by their resolution. Ends early when `signal` aborts. */
  trim(options: { before: number; minutesBefore: number; signal?: AbortSignal }): Promise<void>;
}
