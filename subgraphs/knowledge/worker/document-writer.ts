import type LibsqlDatabase from "libsql";
import {
  ContentError,
  prepareContent,
  type PreparedContent,
  type UploadedContent,
} from "../content/document-content.ts";
import type { ContentProblem, Document } from "../document-store.ts";
import type { DocumentJobs } from "./document-jobs.ts";

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

/** Writes documents together with their index, each change in one transaction. */
export function createDocumentWriter(
  database: LibsqlDatabase.Database,
): Pick<DocumentJobs, "insert" | "update" | "delete"> {
  const run = (sql: string, ...values: unknown[]) => database.prepare(sql).run(...values);
  // The columns asked for are those of the row types here.
  const find = <Row>(sql: string, ...values: unknown[]) => database.prepare(sql).get(...values) as Row | undefined;

  function transaction<Result>(work: () => Result): Result {
    database.exec("BEGIN IMMEDIATE");
    try {
      const result = work();
      database.exec("COMMIT");
      return result;
    } catch (error) {
      // SQLite itself has rolled back what failed by a full disk; another error here would hide why.
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

  function addText(documentId: string, title: string, text: string): void {
    const { lastInsertRowid } = run(
      "INSERT INTO document_texts (documentId, title, text) VALUES (?, ?, ?)",
      documentId,
      title,
      text,
    );
    for (const table of ["document_index", "document_words"]) {
      run(`INSERT INTO ${table} (rowid, title, text) VALUES (?, ?, ?)`, lastInsertRowid, title, text);
    }
  }

  const findText = (documentId: string) =>
    find<TextRow>("SELECT id, title, text FROM document_texts WHERE documentId = ?", documentId);

  function removeText({ id, title, text }: TextRow): void {
    // Full-text tables that keep no content of their own must be told what they forget (SQLite FTS5, section 4.4.3).
    for (const table of ["document_index", "document_words"]) {
      run(`INSERT INTO ${table} (${table}, rowid, title, text) VALUES ('delete', ?, ?, ?)`, id, title, text);
    }
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
  };

  function contentOf(id: string, { text }: TextRow): string {
    const original = find<{ content: string }>("SELECT content FROM document_originals WHERE documentId = ?", id);
    return original?.content ?? text;
  }
}

function prepare(content: UploadedContent, contentType: string): PreparedContent | ContentProblem {
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
    // What toRow wrote.
    tags: JSON.parse(row.tags) as string[],
    metadata: row.metadata === null ? null : (JSON.parse(row.metadata) as unknown),
  };
}
