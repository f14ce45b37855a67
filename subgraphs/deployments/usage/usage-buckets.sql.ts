import { setImmediate as turn } from "node:timers/promises";
import { dialectOf, insertRows, partsOf } from "@toolyard/storage";
import type { EntityManager } from "typeorm";
import { usageBucketEntity } from "../database.ts";
import { addDuration, mergeInto, type SparseHistogram } from "./histogram.ts";
import type { UsageBucketRow, UsageRecord } from "./usage-record.ts";
import type { UsageSubjects } from "./usage-store.ts";
import { RESOLUTIONS_MS } from "./usage-window.ts";

const FIRST_ERROR_STATUS = 400;
/** Their histograms are read, merged and written: each costs far more than a row that is only written. */
const MERGED_ROWS = 100;

interface StoredSums {
  calls: number;
  errors: number;
  mcpFailures: number;
  histogram: string;
}

/** Sums up calls in buckets of each resolution. */
export function createSums(nameOf: (call: UsageRecord) => string): {
  add(call: UsageRecord): void;
  buckets(): UsageBucketRow[];
} {
  const buckets = new Map<string, UsageBucketRow>();
  return {
    add(call) {
      const { at, toolId, deploymentId, statusCode, mcpFailure, responseTimeMs } = call;
      const mcpTool = nameOf(call);
      for (const resolutionMs of RESOLUTIONS_MS) {
        const start = Math.floor(at / resolutionMs) * resolutionMs;
        // Ids have no line breaks; a name, which may have some, is last.
        const key = `${resolutionMs}\n${start}\n${deploymentId}\n${mcpTool}`;
        let bucket = buckets.get(key);
        if (!bucket) {
          const none = { calls: 0, errors: 0, mcpFailures: 0, histogram: {} };
          bucket = { resolutionMs, at: start, deploymentId, mcpTool, toolId, ...none };
          buckets.set(key, bucket);
        }
        bucket.calls += 1;
        if (statusCode >= FIRST_ERROR_STATUS) bucket.errors += 1;
        if (mcpFailure !== null) bucket.mcpFailures += 1;
        addDuration(bucket.histogram, responseTimeMs);
      }
    },
    buckets: () => [...buckets.values()],
  };
}

/** Adds to what is stored, in the manager's transaction, by exact keys: other buckets cost nothing. */
export async function addToBuckets(manager: EntityManager, added: readonly UsageBucketRow[]): Promise<void> {
  const key = dialectOf(manager).rows("?", "k", ["integer", "integer", "text", "text"]);
  for (const part of partsOf(added, MERGED_ROWS)) {
    const keys = part.map(({ resolutionMs, at, deploymentId, mcpTool }) => [resolutionMs, at, deploymentId, mcpTool]);
    const stored = await manager.query<(StoredSums & { place: number })[]>(
      // CROSS JOIN: the keys lead, whatever the planner thinks of them.
      `SELECT ${key.index} AS "place", b.calls, b.errors, b."mcpFailures", b.histogram
       FROM ${key.from} CROSS JOIN usage_buckets b ON b."resolutionMs" = ${key.at(0)} AND b.at = ${key.at(1)}
         AND b."deploymentId" = ${key.at(2)} AND b."mcpTool" = ${key.at(3)}`,
      [JSON.stringify(keys)],
    );
    for (const { place, calls, errors, mcpFailures, histogram } of stored) {
      const row = part[place] as UsageBucketRow; // one of those asked for
      row.calls += calls;
      row.errors += errors;
      row.mcpFailures += mcpFailures;
      mergeInto(row.histogram, JSON.parse(histogram) as SparseHistogram);
    }
    await insertRows(manager, usageBucketEntity, part, { replace: true });
    await turn();
  }
}

export async function* bucketsFrom(
  manager: EntityManager,
  { by, ids }: UsageSubjects,
  resolutionMs: number,
  from: number,
): AsyncGenerator<UsageBucketRow[]> {
  const dialect = dialectOf(manager);
  const id = dialect.rows("?", "subject", ["text"]);
  const found = dialect.readInParts(manager, {
    table: "usage_buckets",
    where: `"${by}" IN (SELECT ${id.at(0)} FROM ${id.from}) AND "resolutionMs" = ? AND at >= ?`,
    parameters: [JSON.stringify(ids.map((each) => [each])), resolutionMs, from],
  });
  for await (const rows of found)
    // As the columns are.
    yield (rows as (Omit<UsageBucketRow, "histogram"> & StoredSums)[]).map((row) => ({
      ...row,
      histogram: JSON.parse(row.histogram) as SparseHistogram,
    }));
}
