import { dialectOf, type Database } from "@toolyard/storage";
import { In, type QueryDeepPartialEntity } from "typeorm";
import { importedTemplateEntity } from "../database.ts";
import type { ImportedTemplate, TemplateStore } from "./template-store.ts";
import { hasWords } from "./template.ts";

/** Of all users: a search goes through their names and descriptions. */
const MAX_IMPORTED = 2_000;

export function createSqlTemplateStore({ database }: { database: Database }): TemplateStore {
  const templates = () => database.read.getRepository(importedTemplateEntity);
  return {
    findByIds: (ids) => templates().findBy({ id: In([...ids]) }),
    async idsOf(words) {
      const select = { id: true, name: true, description: true } as const;
      const all = await templates().find({ select, order: { id: "ASC" }, take: MAX_IMPORTED });
      return all.filter((template) => hasWords(template, words)).map(({ id }) => id);
    },
    put: (template, { mayReplace, most }) =>
      database.transaction(async ({ manager }) => {
        const rows = manager.getRepository(importedTemplateEntity);
        const { id, authorId } = template;
        // TypeORM's types see a deep partial in every JSON column; the values are whole.
        const row = template as QueryDeepPartialEntity<ImportedTemplate>;
        // The limits are for one transaction at a time to look at.
        await dialectOf(manager).lock(manager, "templates");
        const existing = await rows.findOneBy({ id });
        if (existing) {
          if (!mayReplace(existing)) return "taken";
          await rows.update({ id }, row);
          return "put";
        }
        if ((await rows.countBy({ authorId })) >= most || (await rows.count()) >= MAX_IMPORTED) return "full";
        await rows.insert(row);
        return "put";
      }),
    remove: (id) =>
      database.transaction(async ({ manager }) => {
        const { affected } = await manager.getRepository(importedTemplateEntity).delete({ id });
        return Boolean(affected);
      }),
  };
}
