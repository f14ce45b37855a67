import { createSqlJobLeases } from "@toolyard/scheduler";
import { deleteInChunks, dialectOf, type Database, type StoreTables } from "@toolyard/storage";
import { IsNull, LessThanOrEqual } from "typeorm";
import { entities, idempotencyEntity, migrationsFolder } from "./database.ts";
import type { IdempotencyStore } from "./idempotency-store.ts";

/** Opens the installation's store of them. Several processes may have it open. */
export async function openSqlIdempotencyStore(
  open: (tables: StoreTables) => Promise<Database>,
): Promise<IdempotencyStore> {
  return createSqlIdempotencyStore(await open({ name: "idempotency", entities, migrationsFolder }));
}

/** @param database Closed with the store */
export function createSqlIdempotencyStore(database: Database): IdempotencyStore {
  return {
    claim: (claim, now, room) =>
      database.transaction(async ({ manager }) => {
        const rows = manager.getRepository(idempotencyEntity);
        // One caller's claims are counted, and made, one at a time.
        await dialectOf(manager).lock(manager, claim.callerId);
        const known = await rows.findOneBy({ id: claim.id });
        if (known && known.expiresAt > now) {
          const { fingerprint, runningUntil, answer } = known;
          return { state: "known", entry: { fingerprint, runningUntil, answer } };
        }
        const taken = await rows
          .createQueryBuilder("kept")
          .select("COUNT(*)", "entries")
          .addSelect("COALESCE(SUM(kept.characters), 0)", "characters")
          .addSelect("MIN(kept.expiresAt)", "until")
          .where("kept.callerId = :callerId AND kept.expiresAt > :now", { callerId: claim.callerId, now })
          .getRawOne<{ entries: number; characters: number; until: number }>();
        if (taken && (taken.entries >= room.entries || taken.characters >= room.characters))
          return { state: "full", until: taken.until };
        await rows.save({ ...claim, answer: null, characters: 0 });
        return { state: "claimed" };
      }),
    finish: (id, answer) =>
      database.transaction(async ({ manager }) => {
        await manager.getRepository(idempotencyEntity).update({ id }, { answer, characters: answer.length });
      }),
    release: (id) =>
      database.transaction(async ({ manager }) => {
        await manager.getRepository(idempotencyEntity).delete({ id, answer: IsNull() });
      }),
    abandon: (id) =>
      database.transaction(async ({ manager }) => {
        await manager.getRepository(idempotencyEntity).update({ id, answer: IsNull() }, { runningUntil: 0 });
      }),
    purge: (now, work) => deleteInChunks(database, idempotencyEntity, { expiresAt: LessThanOrEqual(now) }, work),
    leases: createSqlJobLeases(database),
    close: () => database.close(),
  };
}
