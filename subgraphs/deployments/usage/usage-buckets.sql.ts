import { setImmediate as turn } from "node:timers/promises";
import { dialectOf, insertRows, partsOf } from "@toolyard/storage";
import type { EntityManager, EntitySchema } from "typeorm";
import { usageBucketEntity, usagePartyEntity } from "../database.ts";
import { addDuration, mergeInto, type SparseHistogram } from "./histogram.ts";
import type { UsageBucketRow, UsagePartyRow, UsageRecord, UsageSumRow } from "./usage-record.ts";
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

/** A table of sums: `column` tells those of a deployment apart. */
export interface SumsTable<Row extends UsageSumRow> {
  entity: EntitySchema<Row>;
  table: string;
  column: string & keyof Row;
}
export const byMcpTool: SumsTable<UsageBucketRow> = {
  entity: usageBucketEntity,
  table: "usage_buckets",
  column: "mcpTool",
};
export const byParty: SumsTable<UsagePartyRow> = {
  entity: usagePartyEntity,
  table: "usage_parties",
  column: "party",
};

/** Sums up calls in buckets of each resolution, by names. */
export function createSums<Row extends UsageSumRow>({
  column,
}: SumsTable<Row>): {
  add(call: UsageRecord, name: string): void;
  buckets(): Row[];
} {
  const buckets = new Map<string, Row>();
  return {
    add({ at, toolId, deploymentId, statusCode, mcpFailure, responseTimeMs }, name) {
      for (const resolutionMs of RESOLUTIONS_MS) {
        const start = Math.floor(at / resolutionMs) * resolutionMs;
        // Ids have no line breaks; a name, which may have some, is last.
        const key = `${resolutionMs}\n${start}\n${deploymentId}\n${name}`;
        let bucket = buckets.get(key);
        if (!bucket) {
          const none = { calls: 0, errors: 0, mcpFailures: 0, histogram: {} };
          // The row of the table: a sum and its name.
          bucket = { resolutionMs, at: start, deploymentId, [column]: name, toolId, ...none } as unknown as Row;
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
export async function addToBuckets<Row extends UsageSumRow>(
  manager: EntityManager,
  { entity, table, column }: SumsTable<Row>,
  added: readonly Row[],
): Promise<void> {
  const key = dialectOf(manager).rows("?", "k", ["integer", "integer", "text", "text"]);
  for (const part of partsOf(added, MERGED_ROWS)) {
    const keys = part.map((row) => [row.resolutionMs, row.at, row.deploymentId, row[column]]);
    const stored = await manager.query<(StoredSums & { place: number })[]>(
      // CROSS JOIN: the keys lead, whatever the planner thinks of them.
      `SELECT ${key.index} AS "place", b.calls, b.errors, b."mcpFailures", b.histogram
       FROM ${key.from} CROSS JOIN ${table} b ON b."resolutionMs" = ${key.at(0)} AND b.at = ${key.at(1)}
         AND b."deploymentId" = ${key.at(2)} AND b."${column}" = ${key.at(3)}`,
      [JSON.stringify(keys)],
    );
    for (const { place, calls, errors, mcpFailures, histogram } of stored) {
      const row = part[place] as Row; // one of those asked for
      row.calls += calls;
      row.errors += errors;
      row.mcpFailures += mcpFailures;
      mergeInto(row.histogram, JSON.parse(histogram) as SparseHistogram);
    }
    await insertRows(manager, entity, part, { replace: true });
    await turn();
  }
}

export async function* bucketsFrom<Row extends UsageSumRow>(
  manager: EntityManager,
  { table }: SumsTable<Row>,
  { by, ids }: UsageSubjects,
  resolutionMs: number,
  from: number,
): AsyncGenerator<Row[]> {
  const dialect = dialectOf(manager);
  const id = dialect.rows("?", "subject", ["text"]);
  const found = dialect.readInParts(manager, {
    table,
    where: `"${by}" IN (SELECT ${id.at(0)} FROM ${id.from}) AND "resolutionMs" = ? AND at >= ?`,
    parameters: [JSON.stringify(ids.map((each) => [each])), resolutionMs, from],
  });
  for await (const rows of found)
    // As the columns are.
    yield (rows as (Omit<Row, "histogram"> & StoredSums)[]).map(
      (row) => ({ ...row, histogram: JSON.parse(row.histogram) as SparseHistogram }) as unknown as Row,
    );
}
