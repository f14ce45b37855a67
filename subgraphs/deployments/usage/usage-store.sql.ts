import { firstIdAt } from "@toolyard/service-kit";
import { deleteInChunks, readPage, type Database } from "@toolyard/storage";
import { In, LessThan, MoreThanOrEqual, type EntityManager } from "typeorm";
import type { QueryDeepPartialEntity } from "typeorm/query-builder/QueryPartialEntity.js";
import { usageBatchEntity, usageBucketEntity, usageRecordEntity } from "../database.ts";
import { addDuration, mergeInto } from "./histogram.ts";
import type { UsageBucketRow, UsageRecord } from "./usage-record.ts";
import type { UsageStore } from "./usage-store.ts";
import { RESOLUTIONS_MS } from "./usage-window.ts";

/** SQLite takes 32,766 parameters in a statement; a record has 12. */
const INSERT_CHUNK = 500;
const FIRST_ERROR_STATUS = 400;

export function createSqlUsageStore(database: Database): UsageStore {
  return {
    record: (batchId, records, at) =>
      database.transaction(async ({ manager }) => {
        const batches = manager.getRepository(usageBatchEntity);
        if (await batches.findOneBy({ id: batchId })) return false;
        await batches.insert({ id: batchId, at });
        for (let start = 0; start < records.length; start += INSERT_CHUNK)
          await manager
            .createQueryBuilder()
            .insert()
            .into(usageRecordEntity)
            .values(records.slice(start, start + INSERT_CHUNK))
            .updateEntity(false)
            .execute();
        await addToBuckets(manager, sumUp(records));
        return true;
      }),
    buckets: (subject, resolutionMs, from) =>
      database.read.getRepository(usageBucketEntity).findBy({ ...subject, resolutionMs, at: MoreThanOrEqual(from) }),
    page({ toolId, deploymentId }, page) {
      const query = database.read.getRepository(usageRecordEntity).createQueryBuilder("record");
      if (toolId !== undefined) query.andWhere("record.toolId = :toolId", { toolId });
      if (deploymentId !== undefined) query.andWhere("record.deploymentId = :deploymentId", { deploymentId });
      return readPage(query, page);
    },
    async trim({ before, minutesBefore, signal }) {
      // Ids rise with the time of recording.
      await deleteInChunks(database, usageRecordEntity, { id: LessThan(firstIdAt(before)) }, signal);
      await deleteInChunks(database, usageBatchEntity, { at: LessThan(before) }, signal);
      const [minutes, hours] = RESOLUTIONS_MS;
      for (const [resolutionMs, at] of [
        [minutes, minutesBefore],
        [hours, before],
      ] as const)
        await deleteInChunks(database, usageBucketEntity, { resolutionMs, at: LessThan(at) }, signal);
    },
  };
}

/** The batch's own buckets, of each resolution. */
function sumUp(records: readonly UsageRecord[]): UsageBucketRow[] {
  const buckets = new Map<string, UsageBucketRow>();
  for (const { at, toolId, deploymentId, mcpTool, statusCode, mcpFailure, responseTimeMs } of records) {
    for (const resolutionMs of RESOLUTIONS_MS) {
      const start = Math.floor(at / resolutionMs) * resolutionMs;
      const key = JSON.stringify([resolutionMs, start, deploymentId, mcpTool]);
      const bucket = buckets.get(key) ?? {
        resolutionMs,
        at: start,
        deploymentId,
        mcpTool: mcpTool ?? "",
        toolId,
        calls: 0,
        errors: 0,
        mcpFailures: 0,
        histogram: {},
      };
      buckets.set(key, bucket);
      bucket.calls += 1;
      if (statusCode >= FIRST_ERROR_STATUS) bucket.errors += 1;
      if (mcpFailure !== null) bucket.mcpFailures += 1;
      addDuration(bucket.histogram, responseTimeMs);
    }
  }
  return [...buckets.values()];
}

async function addToBuckets(manager: EntityManager, added: readonly UsageBucketRow[]): Promise<void> {
  const repository = manager.getRepository(usageBucketEntity);
  const stored = await repository.findBy({
    at: In([...new Set(added.map(({ at }) => at))]),
    deploymentId: In([...new Set(added.map(({ deploymentId }) => deploymentId))]),
  });
  const keyOf = (row: UsageBucketRow): string =>
    JSON.stringify([row.resolutionMs, row.at, row.deploymentId, row.mcpTool]);
  const known = new Map(stored.map((row) => [keyOf(row), row]));
  for (const row of added) {
    const sum = known.get(keyOf(row));
    if (sum) {
      mergeInto(sum.histogram, row.histogram);
      const { resolutionMs, at, deploymentId, mcpTool } = row;
      await repository.update(
        { resolutionMs, at, deploymentId, mcpTool },
        {
          calls: sum.calls + row.calls,
          errors: sum.errors + row.errors,
          mcpFailures: sum.mcpFailures + row.mcpFailures,
          histogram: sum.histogram,
        },
      );
    } else {
      // TypeORM's insert type wants deep partials of JSON columns, whose values are written whole.
      await repository.insert(row as QueryDeepPartialEntity<UsageBucketRow>);
    }
  }
}
