import { dialectOf, insertIfAbsent, type Database } from "@toolyard/storage";
import { Not, type QueryDeepPartialEntity } from "typeorm";
import { templateRepositoryEntity, type TemplateRepositoryRow } from "../../database.ts";
import type { TemplateRepositoryStore } from "./template-repository.ts";

export function createSqlTemplateRepositoryStore({ database }: { database: Database }): TemplateRepositoryStore {
  const rows = () => database.read.getRepository(templateRepositoryEntity);
  return {
    async state(place) {
      const select = { place: true, commitSha: true, syncedAt: true, checkedAt: true, lastError: true } as const;
      const row = await rows().findOne({ select, where: { place } });
      if (!row) return null;
      const { commitSha, syncedAt, checkedAt, lastError } = row;
      return { commitSha, syncedAt, checkedAt, lastError };
    },
    files: async (place) => (await rows().findOneBy({ place }))?.files ?? [],
    replace: (place, before, { commitSha, files, at }) =>
      database.transaction(async ({ manager }) => {
        const repository = manager.getRepository(templateRepositoryEntity);
        const select = { place: true, commitSha: true } as const;
        const row = await repository.findOne({ select, where: { place }, ...dialectOf(manager).forUpdate });
        if ((row?.commitSha ?? null) !== before) return false;
        const next = { place, commitSha, files: [...files], syncedAt: at, checkedAt: at, lastError: null };
        // `save` would merge the values, and lose keys such as `__proto__`. TypeORM's types see a deep partial in every JSON column.
        if (row) await repository.update({ place }, next as QueryDeepPartialEntity<TemplateRepositoryRow>);
        else if (!(await insertIfAbsent(manager, templateRepositoryEntity, next))) return false;
        await repository.delete({ place: Not(place) });
        return true;
      }),
    checked: (place, at, error) =>
      database.transaction(async ({ manager }) => {
        const repository = manager.getRepository(templateRepositoryEntity);
        const { affected } = await repository.update({ place }, { checkedAt: at, lastError: error });
        if (affected) return;
        const first = { place, commitSha: null, files: [], syncedAt: null, checkedAt: at, lastError: error };
        await insertIfAbsent(manager, templateRepositoryEntity, first);
      }),
  };
}
