import type LibsqlDatabase from "libsql";
import type { Hit } from "../document-store.ts";
import type { DocumentJobs } from "./document-jobs.ts";
import { toSearchExpression } from "./search-expression.ts";

/** How much more a match in the title counts than one in the text. */
const TITLE_WEIGHT = 8;
const SNIPPET_WORDS = 32;
/** SQLite's highest code point in UTF-8 order: what begins with a prefix lies between the prefix and it with this added. */
const LAST_CHARACTER = "\u{10ffff}";

/** Finds documents by the full-text tables: `document_index` (stems, positions) and `document_words` (words as they are). */
export function createDocumentSearcher(database: LibsqlDatabase.Database): Pick<DocumentJobs, "search"> {
  const rowsOf = <Row>(sql: string, ...values: unknown[]) => database.prepare(sql).all(...values) as Row[]; // as selected

  const wordsBeginningWith = (prefix: string, limit: number) =>
    rowsOf<{ term: string }>(
      "SELECT term FROM document_word_terms WHERE term >= ? AND term < ? LIMIT ?",
      prefix,
      prefix + LAST_CHARACTER,
      limit,
    ).map(({ term }) => term);

  function snippetOf(match: string, rowid: number): string {
    const column = (number: number) =>
      rowsOf<{ snippet: string }>(
        `SELECT snippet(document_index, ${number}, char(1), char(2), '…', ${SNIPPET_WORDS}) AS snippet
         FROM document_index WHERE document_index MATCH ? AND rowid = ?`,
        match,
        rowid,
      )[0]?.snippet ?? "";
    const text = column(1);
    // Found by the title alone: it is the passage then, before the text's beginning.
    const best = text.includes("\u0001") || text === "" ? text : column(0);
    return (best === "" ? column(0) : best)
      .replaceAll("⟦", "[")
      .replaceAll("⟧", "]")
      .replaceAll("\u0001", "⟦")
      .replaceAll("\u0002", "⟧")
      .replaceAll(/\s+/g, " ")
      .trim();
  }

  return {
    search({ query, filter, limit, offset }) {
      const expression = toSearchExpression(query, wordsBeginningWith);
      if (expression === null) return { hits: [], totalCount: 0 };
      const conditions = ["document_index MATCH ?"];
      const values: unknown[] = [expression.match];
      const restrict = (condition: string, ...more: unknown[]) => {
        conditions.push(condition);
        values.push(...more);
      };
      const holders = "(SELECT doc FROM document_word_places WHERE term >= ? AND term < ?)";
      for (const prefix of expression.prefixes) {
        restrict(`document_index.rowid IN ${holders}`, prefix, prefix + LAST_CHARACTER);
      }
      for (const prefix of expression.excludedPrefixes) {
        restrict(`document_index.rowid NOT IN ${holders}`, prefix, prefix + LAST_CHARACTER);
      }
      if (filter.toolId !== null) restrict("documents.toolId = ?", filter.toolId);
      if (filter.tag !== null) {
        restrict("documents.id IN (SELECT documentId FROM document_tags WHERE tag = ?)", filter.tag);
      }
      const found = `FROM document_index
        JOIN document_texts ON document_texts.id = document_index.rowid
        JOIN documents ON documents.id = document_texts.documentId
        WHERE ${conditions.join(" AND ")}`;
      const [count] = rowsOf<{ count: number }>(`SELECT count(*) AS count ${found}`, ...values);
      const rows = rowsOf<{ rowid: number; documentId: string; rank: number }>(
        `SELECT document_index.rowid AS rowid, documents.id AS documentId,
           bm25(document_index, ${TITLE_WEIGHT}, 1) AS rank ${found}
         ORDER BY rank, documents.id DESC LIMIT ? OFFSET ?`,
        ...values,
        limit + 1,
        offset,
      );
      const hits = rows.map(({ rowid, documentId, rank }, index): Hit => {
        // The row beyond the page only says that there is more.
        const snippet = index < limit ? snippetOf(expression.match, rowid) : "";
        return { documentId, score: -rank, snippet };
      });
      return { hits, totalCount: count?.count ?? 0 };
    },
  };
}
