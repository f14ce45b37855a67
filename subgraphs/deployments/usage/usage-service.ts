import {
  parsePage,
  reachableRows,
  toConnection,
  type Caller,
  type Connection,
  type PageArguments,
} from "@toolyard/service-kit";
import type { ListedNames } from "./listed-names.ts";
import { parseBatch } from "./usage-batch.ts";
import { labelSeenBy, partyOf } from "./usage-parties.ts";
import type { Party, UsageRecord } from "./usage-record.ts";
import type { UsageStore, UsageSubjects } from "./usage-store.ts";
import { createNamedSums, createSummary, type UsageSummary } from "./usage-summary.ts";
import { windowShape, type UsageWindow } from "./usage-window.ts";

/** Calls of one user or client. */
export interface PartyUsage {
  party: Party;
  calls: number;
  errors: number;
  mcpFailures: number;
  p95Ms: number | null;
}

/** Statistics of the calls through the proxy. */
export interface UsageService {
  /** True also for a batch that came before. */
  record(caller: Caller, batch: unknown): Promise<boolean>;
  /** In the order of the ids. */
  summaries(caller: Caller, subjects: UsageSubjects, window: UsageWindow): Promise<UsageSummary[]>;
  /** The same by user and by client, as far as the caller sees these. `mayInspect`: whether they may inspect all of the subjects. */
  parties(
    caller: Caller,
    subjects: UsageSubjects,
    asked: { window: UsageWindow; mayInspect: boolean },
  ): Promise<PartyUsage[][]>;
  list(
    caller: Caller,
    filter: { toolId?: string | undefined; deploymentId?: string | undefined },
    page: PageArguments,
  ): Promise<Connection<UsageRecord>>;
}

export function createUsageService(options: {
  store: UsageStore;
  listed: ListedNames;
  now: () => number;
}): UsageService {
  const { store, listed, now } = options;
  return {
    async record(caller, given) {
      caller.require("internal:usage");
      const { id, calls } = await parseBatch(given, listed);
      await store.record(id, calls, now());
      return true;
    },
    async summaries(caller, subjects, window) {
      caller.require("usage:read");
      const shape = windowShape(window, now());
      const summaries = new Map(subjects.ids.map((id) => [id, createSummary(shape)]));
      for await (const buckets of store.buckets(subjects, shape.resolutionMs, shape.steps[0] ?? 0))
        for (const bucket of buckets) summaries.get(bucket[subjects.by])?.add(bucket);
      const told: UsageSummary[] = [];
      for (const summary of summaries.values()) told.push(await summary.finish());
      return told;
    },
    async parties(caller, subjects, { window, mayInspect }) {
      caller.require("usage:read");
      const { resolutionMs, steps } = windowShape(window, now());
      const sums = new Map(subjects.ids.map((id) => [id, createNamedSums()]));
      const viewer = { userId: caller.userId, mayInspect };
      for await (const buckets of store.parties(subjects, resolutionMs, steps[0] ?? 0))
        for (const bucket of buckets) {
          const label = labelSeenBy(viewer, bucket.party);
          if (label !== null) sums.get(bucket[subjects.by])?.add(label, bucket);
        }
      const told: PartyUsage[][] = [];
      for (const sum of sums.values())
        told.push((await sum.finish()).map(({ name, ...counts }) => ({ ...counts, party: partyOf(name) })));
      return told;
    },
    async list(caller, filter, given) {
      caller.require("usage:read");
      const page = parsePage(given);
      const { toolId: asked, deploymentId } = filter;
      const rows = reachableRows(caller, asked, page, (toolId, part) => store.page({ toolId, deploymentId }, part));
      return toConnection(rows, page, ({ id }) => id);
    },
  };
}
