import mongoose, { type Connection } from "mongoose";
import type { Document } from "./document-store.ts";

/** A document without its content. `_id` is its id. */
export interface StoredDocument extends Omit<Document, "id" | "metadata"> {
  _id: string;
  /** JSON text, which keeps the order and the names of keys. */
  metadata: string | null;
}

/** A content with what is searched of it. `_id` is its document's id. */
export interface StoredContent {
  _id: string;
  title: string;
  text: string;
  /** Where the text is another than what was uploaded. */
  original: string | null;
}

/** How often a stem is in a document. */
export interface StoredTerm {
  /** The stem. */
  s: string;
  /** In the title, and in the text as far as it counts: see readText. */
  t: number;
  x: number;
}

/** The analysed terms of a document, or a part of those of a large one: each stem and each word is in one of the parts. */
export interface StoredTerms {
  /** `<document's id>/<part>` */
  _id: string;
  documentId: string;
  /** How many parts there are. */
  parts: number;
  /** As the document has them, for filters. */
  toolId: string | null;
  tags: string[];
  /** Of the whole document: how many terms it has, as the rank counts them. */
  length: number;
  terms: StoredTerm[];
  /** Words as they are, for prefixes: without diacritics, in lower case, their first MAX_WORD characters. */
  words: string[];
}

/** All documents together, for ranks; in several, so that those who write at once are not in each other's way. The sums count. */
interface StoredTotals {
  _id: number;
  documents: number;
  length: number;
}

/** Characters. No query is longer. */
export const MAX_WORD = 1_024;
export const TOTALS_SHARDS = 16;

const text = { type: String, required: true } as const;
const anyText = { type: String, default: "" } as const;
const number = { type: Number, required: true } as const;
const nullable = { type: String, default: null } as const;
const plain = { versionKey: false, strict: "throw", minimize: false, id: false } as const;

const documentSchema = new mongoose.Schema<StoredDocument>(
  {
    _id: text,
    title: anyText,
    contentType: text,
    size: number,
    digest: text,
    tags: [String],
    metadata: nullable,
    toolId: nullable,
    uploadedById: nullable,
    createdAt: number,
    updatedAt: number,
  },
  { ...plain, collection: "knowledge_documents" },
)
  .index({ toolId: 1, _id: -1 })
  .index({ tags: 1, _id: -1 });

const contentSchema = new mongoose.Schema<StoredContent>(
  { _id: text, title: anyText, text: anyText, original: nullable },
  { ...plain, collection: "knowledge_contents" },
);

const termsSchema = new mongoose.Schema<StoredTerms>(
  {
    _id: text,
    documentId: text,
    parts: number,
    toolId: nullable,
    tags: [String],
    length: number,
    terms: [{ _id: false, s: String, t: Number, x: Number }],
    words: [String],
  },
  { ...plain, collection: "knowledge_terms" },
)
  .index({ "terms.s": 1 })
  .index({ words: 1 })
  .index({ documentId: 1 })
  .index({ parts: 1 }, { partialFilterExpression: { parts: { $gt: 1 } } });

const totalsSchema = new mongoose.Schema<StoredTotals>(
  { _id: number, documents: number, length: number },
  { ...plain, collection: "knowledge_totals" },
);

export function documentModels(connection: Connection) {
  return {
    documents: connection.model("KnowledgeDocument", documentSchema),
    contents: connection.model("KnowledgeContent", contentSchema),
    terms: connection.model("KnowledgeTerms", termsSchema),
    totals: connection.model("KnowledgeTotals", totalsSchema),
  };
}

/** The same as the driver has them: Mongoose would look at each of a document's thousands of terms. */
export function documentCollections(connection: Connection) {
  const { documents, contents, terms, totals } = documentModels(connection);
  const { db } = connection;
  if (!db) throw new Error("The connection to MongoDB is not open yet.");
  return {
    documents: db.collection<StoredDocument>(documents.collection.collectionName),
    contents: db.collection<StoredContent>(contents.collection.collectionName),
    terms: db.collection<StoredTerms>(terms.collection.collectionName),
    totals: db.collection<StoredTotals>(totals.collection.collectionName),
  };
}

export function toDocument({ _id, metadata, ...rest }: StoredDocument): Document {
  return { id: _id, ...rest, metadata: metadata === null ? null : (JSON.parse(metadata) as unknown) };
}

export function fromDocument({ id, metadata, ...rest }: Document): StoredDocument {
  return { _id: id, ...rest, metadata: metadata === null ? null : JSON.stringify(metadata) };
}
