import { setImmediate as turn } from "node:timers/promises";
import { firstIdAt } from "@toolyard/service-kit";
import {
  CHUNK_ROWS,
  deleteInChunks,
  dialectOf,
  insertIfAbsent,
  insertRows,
  partsOf,
  readPage,
  type Database,
} from "@toolyard/storage";
import { LessThan, MoreThan } from "typeorm";
import { usageBatchEntity, usageBucketEntity, usagePartyEntity, usageRecordEntity } from "../database.ts";
import { addToBuckets, bucketsFrom, byMcpTool, byParty, createSums } from "./usage-buckets.sql.ts";
import { countedParties } from "./usage-parties.sql.ts";
import { countedNames } from "./usage-names.sql.ts";
import type { UsageStore } from "./usage-store.ts";
import { BUCKETS_KEPT_MS, DAY_MS } from "./usage-window.ts";

export function createSqlUsageStore(database: Database): UsageStore {
  return {
    record: (batchId, calls, at) =>
      database.transaction(async ({ manager }) => {
        // Sums are read and written again, and names counted up to a limit: by one at a time.
        await dialectOf(manager).lock(manager, "usage");
        if (!(await insertIfAbsent(manager, usageBatchEntity, { id: batchId, at }))) return false;
        const nameOf = await countedNames(manager, calls);
        const labelsOf = await countedParties(manager, calls);
        const sums = createSums(byMcpTool);
        const parties = createSums(byParty);
        for (const part of partsOf(calls, CHUNK_ROWS)) {
          await insertRows(manager, usageRecordEntity, part);
          for (const call of part) {
            sums.add(call, nameOf(call));
            for (const label of labelsOf(call)) parties.add(call, label);
          }
          await turn();
        }
        await addToBuckets(manager, byMcpTool, sums.buckets());
        await addToBuckets(manager, byParty, parties.buckets());
        return true;
      }),
    buckets: (subjects, resolutionMs, from) => bucketsFrom(database.read, byMcpTool, subjects, resolutionMs, from),
    parties: (subjects, resolutionMs, from) => bucketsFrom(database.read, byParty, subjects, resolutionMs, from),
    async callsByMcpTool(toolId, from) {
      const rows = await database.read
        .getRepository(usageBucketEntity)
        .createQueryBuilder("bucket")
        .select("bucket.mcpTool", "mcpTool")
        .addSelect("SUM(bucket.calls)", "calls")
        .where({ toolId, resolutionMs: DAY_MS, at: MoreThan(from - DAY_MS) })
        .groupBy("bucket.mcpTool")
        .getRawMany<{ mcpTool: string; calls: number | string }>();
      return new Map(rows.map(({ mcpTool, calls }) => [mcpTool, Number(calls)]));
    },
    page({ toolId, deploymentId }, page) {
      const query = database.read.getRepository(usageRecordEntity).createQueryBuilder("record");
      if (toolId !== undefined) query.andWhere("record.toolId = :toolId", { toolId });
      if (deploymentId !== undefined) query.andWhere("record.deploymentId = :deploymentId", { deploymentId });
      return readPage(query, page);
    },
    async trim({ before, now }, work) {
      // Ids rise with the time of recording.
      let rows = await deleteInChunks(database, usageRecordEntity, { id: LessThan(firstIdAt(before)) }, work);
      rows += await deleteInChunks(database, usageBatchEntity, { at: LessThan(before) }, work);
      for (const [resolutionMs, keptMs] of BUCKETS_KEPT_MS) {
        const old = { resolutionMs, at: LessThan(now - keptMs) };
        rows += await deleteInChunks(database, usageBucketEntity, old, work);
        rows += await deleteInChunks(database, usagePartyEntity, old, work);
      }
      return rows;
    },
  };
}
