import { createJobProcesses } from "@toolyard/job-processes";
import { createCollections, orUnavailable, type MongodbConnection } from "@toolyard/mongodb";
import { ToolyardError, type Logger, type Page } from "@toolyard/service-kit";
import type { QueryFilter } from "mongoose";
import { documentModels, toDocument, type StoredDocument } from "./document-models.mongodb.ts";
import { createDocumentIndex } from "./document-index.ts";
import type { DocumentStore } from "./document-store.ts";
import type { Served, ServedDocumentJobs } from "./worker/document-jobs.ts";

/**
 * MongoDB. What users upload and look for is analysed beside the event loop, in processes with connections of their own; what is read by
 * id, and lists, are read here.
 */
export async function createMongodbDocumentStore(options: {
  mongodb: MongodbConnection;
  logger: Logger;
  /** Aborts when Toolyard begins to stop. */
  signal?: AbortSignal | undefined;
}): Promise<DocumentStore> {
  const { mongodb, logger, signal } = options;
  const models = documentModels(mongodb.connection);
  await createCollections(Object.values(models));
  const { documents, contents } = models;
  const module = new URL("./worker/mongodb-worker.ts", import.meta.url);
  const data = mongodb.settings;
  const writers = createJobProcesses<ServedDocumentJobs>({
    name: "change of a document",
    module,
    data,
    logger,
    deadlineMs: 30_000,
    memoryMb: 512,
    signal,
    stopMs: 10_000,
  });
  const searchers = createJobProcesses<ServedDocumentJobs>({ name: "search", module, data, logger, signal });

  const pipelineOf = (filter: QueryFilter<StoredDocument>, { limit, afterId, offset }: Page) => [
    { $match: { ...filter, ...(afterId !== null && { _id: { $lt: afterId } }) } },
    { $sort: { _id: -1 as const } },
    { $skip: offset },
    { $limit: limit + 1 },
  ];
  const count = (filter: QueryFilter<StoredDocument>) => orUnavailable(() => documents.countDocuments(filter));

  return {
    insert: async (document, content, subject) => served(await writers.run("insert", { document, content }, subject)),
    update: async (id, change, content, subject) =>
      served(await writers.run("update", { id, change, content }, subject)),
    delete: async (id, subject) => served(await writers.run("delete", { id }, subject)),

    findByIds: (ids) => orUnavailable(async () => (await documents.find({ _id: { $in: ids } }).lean()).map(toDocument)),

    contentsOf: (ids) =>
      orUnavailable(async () => {
        const found = await contents.find({ _id: { $in: ids } }).lean();
        return found.map(({ _id, text, original }) => ({ id: _id, content: original ?? text }));
      }),

    page({ toolId, tag }, page) {
      const filter = { ...(toolId !== null && { toolId }), ...(tag !== null && { tags: tag }) };
      return {
        rows: () =>
          orUnavailable(async () => {
            const found = await documents.aggregate<StoredDocument>(pipelineOf(filter, page));
            return found.map(toDocument);
          }),
        totalCount: () => count(filter),
      };
    },

    pagesOfTools: (toolIds, page) =>
      orUnavailable(async () => {
        const [first, ...others] = toolIds.map((toolId) => pipelineOf({ toolId }, page));
        if (!first) return [];
        const coll = documents.collection.collectionName;
        const unions = others.map((pipeline) => ({ $unionWith: { coll, pipeline } }));
        const found = await documents.aggregate<StoredDocument>([...first, ...unions]);
        const byTool = Map.groupBy(found.map(toDocument), ({ toolId }) => toolId);
        return toolIds.map((toolId) => byTool.get(toolId) ?? []);
      }),

    countsOfTools: (toolIds) =>
      orUnavailable(async () => {
        const found = await documents.aggregate<{ _id: string; count: number }>([
          { $match: { toolId: { $in: toolIds } } },
          { $group: { _id: "$toolId", count: { $sum: 1 } } },
        ]);
        const counts = new Map(found.map((one) => [one._id, one.count]));
        return toolIds.map((toolId) => counts.get(toolId) ?? 0);
      }),

    ...createDocumentIndex(async (job, subject) => served(await searchers.run("search", job, subject))),

    async close() {
      await Promise.all([writers.close("finish"), searchers.close("now")]);
    },
  };
}

function served<Result>(answer: Served<Result>): Result {
  if ("result" in answer) return answer.result;
  const { message, retryAfterSeconds } = answer.unavailable;
  throw new ToolyardError("UPSTREAM_UNAVAILABLE", message, {
    ...(retryAfterSeconds !== null && { retryAfterSeconds }),
  });
}
