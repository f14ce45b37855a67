import { KILLED_MS, createCollections, type MongodbConnection } from "@toolyard/mongodb";
import type { Part, PartTarget } from "@toolyard/storage/copying/part.ts";
import {
  documentCollections,
  documentModels,
  type StoredContent,
  type StoredDocument,
} from "../document-models.mongodb.ts";
import { createMongodbDocumentWriter } from "../worker/document-writer.mongodb.ts";
import { createTextAnalyser } from "../worker/text-analyser.ts";
import { PAGE_DOCUMENTS, PART, type DocumentRow } from "./document-row.ts";

/** The documents of a MongoDB. */
export function mongodbDocumentPart({ connection }: MongodbConnection): Part {
  const { documents, contents } = documentCollections(connection);
  return {
    name: PART,
    count: () => documents.countDocuments({}),
    async *read(after) {
      for (let last = after?.[0] ?? null; ;) {
        const filter = last === null ? {} : { _id: { $gt: String(last) } };
        const found = await documents.find(filter).sort({ _id: 1 }).limit(PAGE_DOCUMENTS).toArray();
        if (found.length === 0) return;
        const texts = await contents.find({ _id: { $in: found.map(({ _id }) => _id) } }).toArray();
        const byId = new Map(texts.map((content) => [content._id, content]));
        yield found.map((document) => toRow(document, byId.get(document._id)));
        last = found.at(-1)?._id ?? null;
      }
    },
    keyOf: ({ id }) => [id ?? null],
  };
}

/** A MongoDB to be filled with documents; those that are there already stay. */
export async function mongodbDocumentTarget(mongodb: MongodbConnection): Promise<PartTarget> {
  await createCollections(Object.values(documentModels(mongodb.connection)));
  const { documents } = documentCollections(mongodb.connection);
  // A copy that was killed may have a transaction there with the same documents.
  const patient: MongodbConnection = {
    ...mongodb,
    transaction: (work) => mongodb.transaction(work, { withinMs: KILLED_MS }),
  };
  const { put } = createMongodbDocumentWriter(patient, createTextAnalyser());
  return {
    ...mongodbDocumentPart(mongodb),
    reached: async () => null,
    async add(given) {
      const rows = given as DocumentRow[]; // as the parts of documents make them
      const there = await documents
        .find({ _id: { $in: rows.map(({ id }) => id) } }, { projection: { _id: 1 } })
        .toArray();
      const known = new Set(there.map(({ _id }) => _id));
      for (const { text, original, metadata, tags, ...row } of rows)
        if (!known.has(row.id))
          await put(
            {
              ...row,
              tags: JSON.parse(tags) as string[],
              metadata: metadata === null ? null : (JSON.parse(metadata) as unknown),
            },
            { text, original },
          );
    },
  };
}

/** In the order of DocumentRow. */
function toRow(document: StoredDocument, content: StoredContent | undefined): DocumentRow {
  const {
    _id: id,
    title,
    contentType,
    size,
    digest,
    tags,
    metadata,
    toolId,
    uploadedById,
    createdAt,
    updatedAt,
  } = document;
  return {
    id,
    title,
    contentType,
    size,
    digest,
    tags: JSON.stringify(tags),
    metadata,
    toolId,
    uploadedById,
    createdAt,
    updatedAt,
    text: content?.text ?? "",
    original: content?.original ?? null,
  };
}
