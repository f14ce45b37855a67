import { join } from "node:path";
import { column } from "@toolyard/storage";
import { EntitySchema } from "typeorm";
import type { Document } from "./document-store.ts";

export const documentEntity = new EntitySchema<Document>({
  name: "documents",
  columns: {
    id: { ...column.primaryId },
    title: { ...column.name },
    contentType: { ...column.name },
    size: { ...column.integer },
    digest: { ...column.id },
    tags: { ...column.json },
    metadata: { ...column.nullableJson },
    toolId: { ...column.nullableId },
    uploadedById: { ...column.nullableId },
    createdAt: { ...column.time },
    updatedAt: { ...column.time },
  },
  indices: [{ columns: ["toolId", "id"] }],
});

/** The tags once more, as rows, to find documents by. */
export const documentTagEntity = new EntitySchema<{ documentId: string; tag: string }>({
  name: "document_tags",
  columns: { documentId: { ...column.primaryId }, tag: { ...column.name, primary: true } },
  indices: [{ columns: ["tag", "documentId"] }],
});

/** The searched rows. The full-text tables of the migrations are made of title and text, by `id`. */
export const documentTextEntity = new EntitySchema<{ id: number; documentId: string; title: string; text: string }>({
  name: "document_texts",
  columns: {
    id: { type: "integer", primary: true, generated: "increment" },
    documentId: { ...column.id },
    title: { ...column.name },
    text: { ...column.text },
  },
  indices: [{ columns: ["documentId"], unique: true }],
});

/** Contents as they were uploaded, where the text that is searched is another. */
export const documentOriginalEntity = new EntitySchema<{ documentId: string; content: string }>({
  name: "document_originals",
  columns: { documentId: { ...column.primaryId }, content: { ...column.text } },
});

/** Ids of texts whose full-text tables, but `document_words`, are yet to be filled: those from before the third migration. */
export const unindexedTextEntity = new EntitySchema<{ id: number }>({
  name: "unindexed_texts",
  columns: { id: { type: "integer", primary: true } },
});

export const entities = [
  documentEntity,
  documentTagEntity,
  documentTextEntity,
  documentOriginalEntity,
  unindexedTextEntity,
] as EntitySchema[]; // an EntitySchema of something is one of anything to those who only make tables of it

/** Documents have a document store where servers keep the data. */
export const isEmbeddedOnly = true;
export const migrationsFolder = join(import.meta.dirname, "migrations");
