import { createJobProcesses } from "@toolyard/job-processes";
import type { Logger } from "@toolyard/service-kit";
import {
  countByParent,
  openDatabase,
  readPage,
  readPagesByParent,
  storeOptions,
  type Database,
} from "@toolyard/storage";
import { In } from "typeorm";
import {
  documentEntity,
  documentOriginalEntity,
  documentTagEntity,
  documentTextEntity,
  entities,
  migrationsFolder,
} from "./database.ts";
import { createDocumentIndex } from "./document-index.ts";
import type { DocumentStore } from "./document-store.ts";
import type { DocumentJobs } from "./worker/document-jobs.ts";

/**
 * SQLite with FTS5. libsql is synchronous, and what users upload and look for decides how long it takes: all writes run in one process,
 * searches in others, which are killed where they take too long; what is read by id runs here. So nothing but the writer
 * ever waits for SQLite's write lock.
 */
export async function createSqlDocumentStore(options: {
  database: Database;
  logger: Logger;
  /** Aborts when Toolyard begins to stop. */
  signal?: AbortSignal | undefined;
}): Promise<DocumentStore> {
  const { database, logger, signal } = options;
  const { file } = database;
  if (file === null) throw new Error("Documents are kept in a file of SQLite, or in a document store.");
  const module = new URL("./worker/document-worker.ts", import.meta.url);
  const writer = createJobProcesses<DocumentJobs>({
    name: "change of a document",
    module,
    data: file,
    logger,
    processes: 1,
    deadlineMs: 30_000,
    memoryMb: 512,
    signal,
    stopMs: 10_000,
  });
  const searchers = createJobProcesses<DocumentJobs>({ name: "search", module, data: file, logger, signal });
  if ((await database.read.query("SELECT 1 FROM unindexed_texts LIMIT 1")).length > 0) {
    logger.info("documents are indexed again, once, after an update");
    while (await writer.run("indexNext", undefined, null));
  }
  const documents = () => database.read.getRepository(documentEntity);
  const change: typeof writer.run = (...job) =>
    writer.run(...job).catch((error: unknown) => {
      throw database.failed(error);
    });

  return {
    insert: (document, content, subject) => change("insert", { document, content }, subject),
    update: (id, changes, content, subject) => change("update", { id, change: changes, content }, subject),
    delete: (id, subject) => change("delete", { id }, subject),

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
      if (tag === null) return readPage(query, page);
      query
        .innerJoin(documentTagEntity.options.name, "tagged", "tagged.documentId = document.id")
        .andWhere("tagged.tag = :tag", { tag });
      // By the index of tags, or of the tool's documents: whichever says where to begin.
      return readPage(query, page, toolId === null ? "tagged.documentId" : "document.id");
    },

    pagesOfTools: (toolIds, page) => readPagesByParent(documents(), toolIds, page, { parentColumn: "toolId" }),
    countsOfTools: (toolIds) => countByParent(documents(), toolIds, { parentColumn: "toolId" }),

    ...createDocumentIndex((job, subject) => searchers.run("search", job, subject)),

    async close() {
      await Promise.all([writer.close("finish"), searchers.close("now")]);
    },
  };
}

/** Whether there are any in `knowledge.sqlite` of a folder. */
export async function hasDocuments(dataDir: string): Promise<boolean> {
  const database = await openDatabase(storeOptions({ dataDir }, { name: "knowledge", entities, migrationsFolder }));
  try {
    return await database.read.existsBy(documentEntity, {});
  } finally {
    await database.close();
  }
}
