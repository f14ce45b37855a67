import type { Logger } from "@toolyard/service-kit";
import { readPage, type Database } from "@toolyard/storage";
import { In } from "typeorm";
import { documentEntity, documentTagEntity, documentTextEntity, documentOriginalEntity } from "./database.ts";
import type { DocumentStore } from "./document-store.ts";
import { createWorkerClient } from "./worker/worker-client.ts";

/**
 * SQLite with FTS5. libsql is synchronous, and indexing 5 MiB or cutting passages out of it takes some hundred milliseconds:
 * all writes run in one worker thread, searches in another; what is read by id runs here. So nothing but the writer's thread
 * ever waits for SQLite's write lock.
 */
export function createSqlDocumentStore(options: { database: Database; file: string; logger: Logger }): DocumentStore {
  const { database, file, logger } = options;
  const writer = createWorkerClient({ file, logger });
  const searcher = createWorkerClient({ file, logger });
  const documents = () => database.read.getRepository(documentEntity);

  return {
    insert: (document, content) => writer.run("insert", { document, content }),
    update: (id, change, content) => writer.run("update", { id, change, content }),
    delete: (id) => writer.run("delete", { id }),

    findByIds: (ids) => documents().findBy({ id: In(ids) }),

    contentsOf: (ids) =>
      database.read
        .getRepository(documentTextEntity)
        .createQueryBuilder("text")
        .leftJoin(documentOriginalEntity.options.name, "original", "original.documentId = text.documentId")
        .select("text.documentId", "id")
        .addSelect("COALESCE(original.content, text.text)", "content")
        .where({ documentId: In(ids) })
        .getRawMany<{ id: string; content: string }>(),

    page({ toolId, tag }, page) {
      const query = documents().createQueryBuilder("document");
      if (toolId !== null) query.andWhere("document.toolId = :toolId", { toolId });
      if (tag !== null) {
        const tagged = query
          .subQuery()
          .select("tagged.documentId")
          .from(documentTagEntity, "tagged")
          .where("tagged.tag = :tag")
          .getQuery();
        query.andWhere(`document.id IN ${tagged}`, { tag });
      }
      return readPage(query, page);
    },

    search: (query, filter, { limit, offset }) => searcher.run("search", { query, filter, limit, offset }),

    async close() {
      await Promise.all([writer.close(), searcher.close()]);
    },
  };
}
