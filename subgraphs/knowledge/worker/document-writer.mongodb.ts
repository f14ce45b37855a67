import type { MongodbConnection } from "@toolyard/mongodb";
import { partsOf } from "@toolyard/storage/parts.ts";
import type { ClientSession } from "mongoose";
import type { PreparedContent } from "../content/document-content.ts";
import {
  TOTALS_SHARDS,
  documentCollections,
  fromDocument,
  toDocument,
  type StoredContent,
  type StoredTerms,
} from "../document-models.mongodb.ts";
import type { ContentProblem, Document } from "../document-store.ts";
import type { AsyncDocumentJobs } from "./document-jobs.ts";
import { prepare } from "./document-writer.ts";
import type { AnalysedText, TextAnalyser } from "./text-analyser.ts";

/** A part of a document's terms: far below MongoDB's 16 MB, and what all but the largest documents have at most. */
const PART_TERMS = 10_000;

interface DocumentCopies {
  /** Inserts a document as it is elsewhere. */
  put(document: Document, content: Pick<StoredContent, "text" | "original">): Promise<void>;
}

/** Writes documents together with their terms, each change in one transaction. */
export function createMongodbDocumentWriter(
  { connection, transaction }: MongodbConnection,
  analyser: TextAnalyser,
): Pick<AsyncDocumentJobs, "insert" | "update" | "delete"> & DocumentCopies {
  const { documents, contents, terms, totals } = documentCollections(connection);

  async function addTerms(document: Document, analysed: AnalysedText, session: ClientSession): Promise<void> {
    // One by one: each is answered within the time of one operation, however large the document is.
    for (const part of toParts(document, analysed)) await terms.insertOne(part, { session });
    await count(1, analysed.length, session);
  }

  async function removeTerms(documentId: string, session: ClientSession): Promise<void> {
    const first = await terms.findOne({ documentId }, { session, projection: { length: 1 } });
    await terms.deleteMany({ documentId }, { session });
    if (first) await count(-1, -first.length, session);
  }

  const count = (more: number, length: number, session: ClientSession) =>
    totals.updateOne(
      { _id: Math.floor(Math.random() * TOTALS_SHARDS) },
      { $inc: { documents: more, length } },
      { session, upsert: true },
    );

  const writeContent = (id: string, title: string, prepared: PreparedContent, session: ClientSession) =>
    contents.replaceOne({ _id: id }, { title, ...storedOf(prepared) }, { session, upsert: true });

  async function put(document: Document, content: Pick<StoredContent, "text" | "original">): Promise<void> {
    const analysed = analyser.analyse(document.title, content.text);
    await transaction(async (session) => {
      await documents.insertOne(fromDocument(document), { session });
      await contents.insertOne({ _id: document.id, title: document.title, ...content }, { session });
      await addTerms(document, analysed, session);
    });
  }

  return {
    put,

    async insert({ document, content }) {
      const prepared = prepare(content, document.contentType);
      if ("problem" in prepared) return prepared;
      const { size, digest } = prepared;
      const whole: Document = { ...document, size, digest };
      await put(whole, storedOf(prepared));
      return whole;
    },

    update: ({ id, change, content }) =>
      transaction(async (session): Promise<Document | ContentProblem | null> => {
        const stored = await documents.findOne({ _id: id }, { session });
        if (!stored) return null;
        const before = toDocument(stored);
        const changed: Document = { ...before, ...change };
        const titleChanges = changed.title !== before.title;
        let text: string | null = null;
        if (content !== null || titleChanges || changed.contentType !== before.contentType) {
          const old = await contents.findOne({ _id: id }, { session });
          if (!old) throw new Error(`The document ${id} has no content.`);
          text = old.text;
          if (content !== null || changed.contentType !== before.contentType) {
            const uploaded = content ?? { content: old.original ?? old.text, encoding: "TEXT" };
            const prepared = prepare(uploaded, changed.contentType);
            if ("problem" in prepared) return prepared;
            ({ size: changed.size, digest: changed.digest, text } = prepared);
            await writeContent(id, changed.title, prepared, session);
          } else await contents.updateOne({ _id: id }, { $set: { title: changed.title } }, { session });
        }
        const { _id, ...values } = fromDocument(changed);
        await documents.replaceOne({ _id }, values, { session });
        if (text === null) {
          const { toolId, tags } = changed;
          await terms.updateMany({ documentId: id }, { $set: { toolId, tags } }, { session });
        } else {
          await removeTerms(id, session);
          await addTerms(changed, analyser.analyse(changed.title, text), session);
        }
        return changed;
      }),

    delete: ({ id }) =>
      transaction(async (session) => {
        const { deletedCount } = await documents.deleteOne({ _id: id }, { session });
        if (deletedCount === 0) return false;
        await contents.deleteOne({ _id: id }, { session });
        await removeTerms(id, session);
        return true;
      }),
  };
}

function storedOf({ content, text }: PreparedContent): Pick<StoredContent, "text" | "original"> {
  return { text, original: content === text ? null : content };
}

function toParts({ id, toolId, tags }: Document, { terms, words, length }: AnalysedText): StoredTerms[] {
  const [ofTerms, ofWords] = [[...partsOf(terms, PART_TERMS)], [...partsOf(words, PART_TERMS)]];
  const parts = Math.max(1, ofTerms.length, ofWords.length);
  return Array.from({ length: parts }, (_, part) => ({
    _id: `${id}/${part}`,
    documentId: id,
    parts,
    toolId,
    tags,
    length,
    terms: ofTerms[part] ?? [],
    words: ofWords[part] ?? [],
  }));
}
