import { setImmediate as turn } from "node:timers/promises";
import { CHUNK_ROWS, partsOf } from "@toolyard/storage";
import type { EntityManager } from "typeorm";
import { addDuration, mergeInto, type SparseHistogram } from "./histogram.ts";
import type { UsageBucketRow, UsageRecord } from "./usage-record.ts";
import type { UsageSubjects } from "./usage-store.ts";
import { RESOLUTIONS_MS } from "./usage-window.ts";

const FIRST_ERROR_STATUS = 400;
/** Their histograms are read, merged and written: each costs far more than a row that is only written. */
const MERGED_ROWS = 100;

/** `?`: JSON of [resolutionMs, at, deploymentId, mcpTool] for each. CROSS JOIN: the keys lead, whatever the planner thinks of them. */
const READ_EXACTLY = `SELECT k.key AS "index", b.calls, b.errors, b."mcpFailures", b.histogram
  FROM json_each(?) k CROSS JOIN usage_buckets b ON b."resolutionMs" = k.value->>0 AND b.at = k.value->>1
    AND b."deploymentId" = k.value->>2 AND b."mcpTool" = k.value->>3`;
const WRITE = `INSERT INTO usage_buckets
    ("resolutionMs", at, "deploymentId", "mcpTool", "toolId", calls, errors, "mcpFailures", histogram)
  SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->8 FROM json_each(?)
  WHERE true
  ON CONFLICT ("resolutionMs", at, "deploymentId", "mcpTool") DO UPDATE SET
    calls = excluded.calls, errors = excluded.errors, "mcpFailures" = excluded."mcpFailures", histogram = excluded.histogram`;

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
  for (const part of partsOf(added, MERGED_ROWS)) {
    const keys = part.map(({ resolutionMs, at, deploymentId, mcpTool }) => [resolutionMs, at, deploymentId, mcpTool]);
    const stored = await manager.query<(StoredSums & { index: number })[]>(READ_EXACTLY, [JSON.stringify(keys)]);
    for (const { index, calls, errors, mcpFailures, histogram } of stored) {
      const row = part[index] as UsageBucketRow; // one of those asked for
      row.calls += calls;
      row.errors += errors;
      row.mcpFailures += mcpFailures;
      mergeInto(row.histogram, JSON.parse(histogram) as SparseHistogram);
    }
    const rows = part.map(({ toolId, calls, errors, mcpFailures, histogram }, index) => [
      ...(keys[index] as unknown[]), // made from the same part
      toolId,
      calls,
      errors,
      mcpFailures,
      histogram,
    ]);
    await manager.query(WRITE, [JSON.stringify(rows)]);
    await turn();
  }
}

export async function* bucketsFrom(
  manager: EntityManager,
  { by, ids }: UsageSubjects,
  resolutionMs: number,
  from: number,
): AsyncGenerator<UsageBucketRow[]> {
  // Which they are is in an index alone; as one value, since a row for each would cost more than the rest.
  const [found] = await manager.query<[{ rowids: string }]>(
    `SELECT json_group_array(rowid) AS rowids FROM usage_buckets
     WHERE "${by}" IN (SELECT value FROM json_each(?)) AND "resolutionMs" = ? AND at >= ?`,
    [JSON.stringify(ids), resolutionMs, from],
  );
  for (const rowids of partsOf(JSON.parse(found.rowids) as number[], CHUNK_ROWS)) {
    const rows = await manager.query<(Omit<UsageBucketRow, "histogram"> & StoredSums)[]>(
      "SELECT * FROM usage_buckets WHERE rowid IN (SELECT value FROM json_each(?))",
      [JSON.stringify(rowids)],
    );
    yield rows.map((row) => ({ ...row, histogram: JSON.parse(row.histogram) as SparseHistogram }));
    await turn();
  }
}
