import { column, insertIfAbsent, sqlTransaction, type Database } from "@toolyard/storage";
import { EntitySchema } from "typeorm";
import { isLeaseHeld, type JobLeases } from "./job-leases.ts";

interface JobRow {
  job: string;
  token: number;
  /** The one that ran it last, or runs it. */
  runner: string;
  leaseUntil: number;
  since: number;
  lastSuccessAt: number | null;
}

/** Of each store that has jobs. */
export const jobEntity = new EntitySchema<JobRow>({
  name: "scheduled_jobs",
  columns: {
    job: { ...column.name, primary: true },
    token: { ...column.time },
    runner: { ...column.id },
    leaseUntil: { ...column.time },
    since: { ...column.time },
    lastSuccessAt: { ...column.nullableTime },
  },
});

export function createSqlJobLeases(database: Database): JobLeases {
  return {
    async stateOf(job, now) {
      const known = await database.read.getRepository(jobEntity).findOneBy({ job });
      if (known) return known;
      return database.transaction(async ({ manager }) => {
        const fresh: JobRow = { job, token: 0, runner: "", leaseUntil: 0, since: now, lastSuccessAt: null };
        await insertIfAbsent(manager, jobEntity, fresh);
        return manager.getRepository(jobEntity).findOneByOrFail({ job });
      });
    },
    take: (job, { runner, now, leaseMs, unlessRunSince }) =>
      database.transaction(async ({ manager }) => {
        const rows = manager.getRepository(jobEntity);
        const row = await rows.findOneByOrFail({ job });
        const isHeld = isLeaseHeld(row.leaseUntil, now, leaseMs);
        const isFresh =
          row.runner !== runner &&
          row.lastSuccessAt !== null &&
          row.lastSuccessAt > unlessRunSince &&
          row.lastSuccessAt <= now + leaseMs;
        if (isHeld || isFresh) return null;
        const token = row.token + 1;
        // By the token, too: where several write at once, one of them has changed the row.
        const { affected } = await rows.update({ job, token: row.token }, { token, runner, leaseUntil: now + leaseMs });
        return affected === 1 ? { job, token } : null;
      }),
    async renew(tx, lease, until) {
      const { manager } = sqlTransaction(tx);
      const { affected } = await manager.getRepository(jobEntity).update({ ...lease }, { leaseUntil: until });
      return affected === 1;
    },
    end: (lease, successAt) =>
      database.transaction(async ({ manager }) => {
        const success = successAt === null ? {} : { lastSuccessAt: successAt };
        await manager.getRepository(jobEntity).update({ ...lease }, { leaseUntil: 0, ...success });
      }),
  };
}
