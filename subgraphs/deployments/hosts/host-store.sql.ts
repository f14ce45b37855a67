import { dialectOf, insertIfAbsent, sqlTransaction, type Database } from "@toolyard/storage";
import { LessThan } from "typeorm";
import type { QueryDeepPartialEntity } from "typeorm/query-builder/QueryPartialEntity.js";
import { hostEntity, replicaEntity } from "../database.ts";
import { isHeld, type Host } from "./host.ts";
import type { HostStore } from "./host-store.ts";

/** @param options.now In place of the database's clock, for tests. */
export function createSqlHostStore(database: Database, options: { now?: (() => number) | undefined } = {}): HostStore {
  return {
    now: async () => options.now?.() ?? dialectOf(database.read).now(database.read),
    join: ({ id, owner, offer }, { now, leaseMs }) =>
      database.transaction(async ({ manager }) => {
        const rows = manager.getRepository(hostEntity);
        const fresh: Host = { id, token: 1, owner, heardAt: now, leaseUntil: now + leaseMs, offer };
        if (await insertIfAbsent(manager, hostEntity, fresh)) return { id, token: 1 };
        const row = await rows.findOneOrFail({ where: { id }, ...dialectOf(manager).forUpdate });
        const isOthers = row.owner !== "" && row.owner !== owner;
        if (isOthers && isHeld(row, now, leaseMs)) return { heldUntil: row.leaseUntil };
        const token = row.token + 1;
        // TypeORM's type wants a deep partial of the JSON column, which is written whole.
        await rows.update({ id }, { ...fresh, token } as QueryDeepPartialEntity<Host>);
        return { id, token };
      }),
    renew: ({ id, token }, { now, leaseMs }, also) =>
      database.transaction(async (tx) => {
        const until = { heardAt: now, leaseUntil: now + leaseMs };
        const { affected } = await tx.manager.getRepository(hostEntity).update({ id, token }, until);
        await also?.(tx);
        return affected === 1;
      }),
    async hold(tx, { id, token }) {
      const { manager } = sqlTransaction(tx);
      const held = await manager.query<unknown[]>(
        `SELECT 1 FROM "hosts" WHERE "id" = ? AND "token" = ? ${dialectOf(manager).heldShared}`,
        [id, token],
      );
      return held.length === 1;
    },
    leave: ({ id, token }, { giveUp }) =>
      database.transaction(async ({ manager }) => {
        const gone = giveUp ? { leaseUntil: 0 } : {};
        await manager.getRepository(hostEntity).update({ id, token }, { token: token + 1, owner: "", ...gone });
      }),
    all: () => database.read.getRepository(hostEntity).find({ order: { id: "ASC" } }),
    giveUp: ({ id, token, leaseUntil }, enter) =>
      database.transaction(async (tx) => {
        await enter(tx);
        const rows = tx.manager.getRepository(hostEntity);
        const { affected } = await rows.update({ id, token, leaseUntil }, { token: token + 1, leaseUntil: 0 });
        return affected === 1;
      }),
    trim: (before) =>
      database.transaction(async ({ manager }) => {
        const rows = manager.getRepository(hostEntity);
        let removed = 0;
        for (const { id, token } of await rows.findBy({ heardAt: LessThan(before) })) {
          if (await manager.getRepository(replicaEntity).existsBy({ hostId: id })) continue;
          removed += (await rows.delete({ id, token })).affected ?? 0;
        }
        return removed;
      }),
  };
}
