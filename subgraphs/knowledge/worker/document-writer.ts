import type LibsqlDatabase from "libsql";
import {
  ContentError,
  prepareContent,
  type PreparedContent,
  type UploadedContent,
} from "../content/document-content.ts";
import type { ContentProblem, Document } from "../document-store.ts";
import type { DocumentJobs } from "./document-jobs.ts";
import { readText } from "./passages.ts";

/**
 * The rowids of `document_passages`: the text's id, and in this many low bits the passage's place in it. The title is the first.
 * The bits are enough for MAX_CONTENT_BYTES.
 */
export const PASSAGE_BITS = 13;

interface DocumentRow extends Omit<Document, "tags" | "metadata"> {
  /** JSON text. */
  tags: string;
  metadata: string | null;
}

interface TextRow {
  id: number;
  title: string;
  text: string;
}

/** Adds texts to the full-text tables. */
export function createTextIndex(database: LibsqlDatabase.Database) {
  const run = (sql: string, ...values: unknown[]) => database.prepare(sql).run(...values);

  /** @returns the text's id */
  function addText(documentId: string, title: string, text: string): number {
    const { lastInsertRowid } = run(
      "INSERT INTO document_texts (documentId, title, text) VALUES (?, ?, ?)",
      documentId,
      title,
      text,
    );
    // One that AUTOINCREMENT gave.
    const id = Number(lastInsertRowid);
    run("INSERT INTO document_words (rowid, title, text) VALUES (?, ?, ?)", id, title, text);
    addIndex({ id, title, text });
    return id;
  }

  function addIndex({ id, title, text }: TextRow): void {
    const { ranked, passages } = readText(text);
    run("INSERT INTO document_index (rowid, title, text) VALUES (?, ?, ?)", id, title, ranked);
    addPassages(id, 0, [title, ...passages]);
  }

  /** @param first The place of the first of them. */
  function addPassages(id: number, first: number, passages: readonly string[]): void {
    if (first + passages.length > 2 ** PASSAGE_BITS) throw new Error(`The text ${id} has too many passages.`);
    const insert = database.prepare("INSERT INTO document_passages (rowid, text) VALUES (?, ?)");
    for (const [n, passage] of passages.entries()) insert.run(id * 2 ** PASSAGE_BITS + first + n, passage);
  }

  return { addText, addIndex, addPassages };
}

/** Writes documents together with their index, each change in one transaction. */
export function createDocumentWriter(
  database: LibsqlDatabase.Database,
): Pick<DocumentJobs, "insert" | "update" | "delete" | "indexNext"> {
  const run = (sql: string, ...values: unknown[]) => database.prepare(sql).run(...values);
  const { addText, addIndex } = createTextIndex(database);
  // The columns asked for are those of the row types here.
  const find = <Row>(sql: string, ...values: unknown[]) => database.prepare(sql).get(...values) as Row | undefined;

  function transaction<Result>(work: () => Result): Result {
    database.exec("BEGIN IMMEDIATE");
    try {
      const result = work();
      database.exec("COMMIT");
      return result;
    } catch (error) {
      // SQLite itself has rolled back a transaction that failed by a full disk; another error here would hide why.
      if (database.inTransaction) database.exec("ROLLBACK");
      throw error;
    }
  }

  function writeTags(documentId: string, tags: readonly string[]): void {
    run("DELETE FROM document_tags WHERE documentId = ?", documentId);
    for (const tag of tags) run("INSERT INTO document_tags (documentId, tag) VALUES (?, ?)", documentId, tag);
  }

  function writeOriginal(documentId: string, { content, text }: PreparedContent): void {
    run("DELETE FROM document_originals WHERE documentId = ?", documentId);
    if (content !== text)
      run("INSERT INTO document_originals (documentId, content) VALUES (?, ?)", documentId, content);
  }

  const findText = (documentId: string) =>
    find<TextRow>("SELECT id, title, text FROM document_texts WHERE documentId = ?", documentId);

  function removeText({ id, title, text }: TextRow): void {
    run("DELETE FROM document_index WHERE rowid = ?", id);
    const first = id * 2 ** PASSAGE_BITS;
    run("DELETE FROM document_passages WHERE rowid BETWEEN ? AND ?", first, first + 2 ** PASSAGE_BITS - 1);
    // Deleting from a full-text table without content of its own takes the deleted text (SQLite FTS5, section 4.4.3).
    run("INSERT INTO document_words (document_words, rowid, title, text) VALUES ('delete', ?, ?, ?)", id, title, text);
    run("DELETE FROM unindexed_texts WHERE id = ?", id);
    run("DELETE FROM document_texts WHERE id = ?", id);
  }

  return {
    insert({ document, content }) {
      const prepared = prepare(content, document.contentType);
      if ("problem" in prepared) return prepared;
      const { size, digest } = prepared;
      const whole: Document = { ...document, size, digest };
      transaction(() => {
        const row = toRow(whole);
        const columns = Object.keys(row);
        run(
          `INSERT INTO documents (${columns.join(", ")}) VALUES (${columns.map(() => "?").join(", ")})`,
          ...Object.values(row),
        );
        writeTags(whole.id, whole.tags);
        writeOriginal(whole.id, prepared);
        addText(whole.id, whole.title, prepared.text);
      });
      return whole;
    },

    update: ({ id, change, content }) =>
      transaction((): Document | ContentProblem | null => {
        const row = find<DocumentRow>("SELECT * FROM documents WHERE id = ?", id);
        const old = findText(id);
        if (!row || !old) return null;
        const changed: Document = { ...toDocument(row), ...change };
        let prepared: PreparedContent | null = null;
        if (content !== null || changed.contentType !== row.contentType) {
          const result = prepare(content ?? { content: contentOf(id, old), encoding: "TEXT" }, changed.contentType);
          if ("problem" in result) return result;
          prepared = result;
          changed.size = result.size;
          changed.digest = result.digest;
          writeOriginal(id, result);
        }
        const { id: _id, ...values } = toRow(changed);
        run(
          `UPDATE documents SET ${Object.keys(values)
            .map((name) => `${name} = ?`)
            .join(", ")} WHERE id = ?`,
          ...Object.values(values),
          id,
        );
        writeTags(id, changed.tags);
        if (prepared !== null || changed.title !== row.title) {
          removeText(old);
          addText(id, changed.title, prepared?.text ?? old.text);
        }
        return changed;
      }),

    delete: ({ id }) =>
      transaction(() => {
        const text = findText(id);
        if (text) removeText(text);
        run("DELETE FROM document_tags WHERE documentId = ?", id);
        run("DELETE FROM document_originals WHERE documentId = ?", id);
        return run("DELETE FROM documents WHERE id = ?", id).changes > 0;
      }),

    indexNext: () =>
      transaction(() => {
        const next = find<TextRow>(
          "SELECT id, title, text FROM document_texts WHERE id = (SELECT min(id) FROM unindexed_texts)",
        );
        if (!next) return false;
        addIndex(next);
        run("DELETE FROM unindexed_texts WHERE id = ?", next.id);
        return true;
      }),
  };

  function contentOf(id: string, { text }: TextRow): string {
    const original = find<{ content: string }>("SELECT content FROM document_originals WHERE documentId = ?", id);
    return original?.content ?? text;
  }
}

export function prepare(content: UploadedContent, contentType: string): PreparedContent | ContentProblem {
  try {
    return prepareContent(content, contentType);
  } catch (error) {
    if (error instanceof ContentError) return { problem: error.message };
    throw error;
  }
}

function toRow({ tags, metadata, ...rest }: Document): DocumentRow {
  return { ...rest, tags: JSON.stringify(tags), metadata: metadata === null ? null : JSON.stringify(metadata) };
}

// libsql adds a property of its own to each row: only columns are taken.
function toDocument(row: DocumentRow): Document {
  const { id, title, contentType, size, digest, toolId, uploadedById, createdAt, updatedAt } = row;
  return {
    id,
    title,
    contentType,
    size,
    digest,
    toolId,
    uploadedById,
    createdAt,
    updatedAt,
    // Written by toRow.
    tags: JSON.parse(row.tags) as string[],
    metadata: row.metadata === null ? null : (JSON.parse(row.metadata) as unknown),
  };
}
