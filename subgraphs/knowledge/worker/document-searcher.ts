import { isUtf8 } from "node:buffer";
import LibsqlDatabase from "libsql";
import type { Hit, SearchFilter } from "../document-index.ts";
import type { DocumentJobs } from "./document-jobs.ts";
import { PASSAGE_BITS } from "./document-writer.ts";
import { toSearchExpression, type SearchExpression } from "./search-expression.ts";
import { CLOSE, OPEN, snippetOf } from "./snippet.ts";

/** How much more a match in the title counts than one in the text. */
export const TITLE_WEIGHT = 8;
/** SQLite's highest code point in UTF-8 order: texts with a prefix lie between the prefix, and the prefix followed by this. */
export const LAST_CHARACTER = "\u{10ffff}";

/**
 * The condition of a search as SQL, for both of its queries: FTS5 finds the documents by their words once, and the rest is looked up
 * for each. So tables are joined in this order (CROSS JOIN), and `+` keeps SQLite from beginning with a list of documents, for
 * each of which FTS5 would search anew.
 */
export function searchCondition(
  expression: SearchExpression,
  { toolIds, tag }: SearchFilter,
): { sql: string; values: unknown[] } {
  const conditions = ["document_index MATCH ?"];
  const values: unknown[] = [expression.words];
  const restrict = (condition: string, ...more: unknown[]) => {
    conditions.push(condition);
    values.push(...more);
  };
  const withPhrase = `+document_index.rowid IN
    (SELECT rowid >> ${PASSAGE_BITS} FROM document_passages WHERE document_passages MATCH ?)`;
  const withPrefix = "+document_index.rowid IN (SELECT rowid FROM document_words WHERE document_words MATCH ?)";
  for (const phrase of expression.phrases) restrict(withPhrase, phrase);
  for (const phrases of expression.excludedPhrases)
    restrict(`NOT (${phrases.map(() => withPhrase).join(" AND ")})`, ...phrases);
  for (const prefix of expression.prefixes) restrict(withPrefix, prefix);
  for (const prefix of expression.excludedPrefixes) restrict(`NOT (${withPrefix})`, prefix);
  if (toolIds !== null) restrict(`+documents.toolId IN (${toolIds.map(() => "?").join(", ")})`, ...toolIds);
  if (tag !== null) restrict("+documents.id IN (SELECT documentId FROM document_tags WHERE tag = ?)", tag);
  const sql = `FROM document_index
    CROSS JOIN document_texts ON document_texts.id = document_index.rowid
    CROSS JOIN documents ON documents.id = document_texts.documentId
    WHERE ${conditions.join(" AND ")}`;
  return { sql, values };
}

/**
 * Finds documents by the full-text tables: `document_index` (stems of each document, for words and rank), `document_passages` (stems
 * and positions of bounded pieces, for phrases and snippets) and `document_words` (words as they are, for prefixes).
 */
export function createDocumentSearcher(database: LibsqlDatabase.Database): Pick<DocumentJobs, "search"> {
  const rowsOf = <Row>(sql: string, ...values: unknown[]) => database.prepare(sql).all(...values) as Row[]; // as selected
  const snippetsOf = createSnippets(database);

  /** FTS5 cuts a word after 32,766 bytes, within a character, too: libsql ends the process when it reads that as text. */
  const wordsBeginningWith = (prefix: string, limit: number) =>
    rowsOf<{ term: ArrayBuffer }>(
      "SELECT CAST(term AS BLOB) AS term FROM document_word_terms WHERE term >= ? AND term < ? LIMIT ?",
      prefix,
      prefix + LAST_CHARACTER,
      limit,
    ).flatMap(({ term }) => (isUtf8(term) ? [Buffer.from(term).toString()] : []));

  return {
    search({ query, filter, limit, offset, wanted }) {
      const expression = toSearchExpression(query, wordsBeginningWith);
      if (expression === null) return { hits: [], totalCount: 0 };
      const { sql, values } = searchCondition(expression, filter);
      const [count] = wanted.includes("totalCount")
        ? rowsOf<{ count: number }>(`SELECT count(*) AS count ${sql}`, ...values)
        : [];
      if (!wanted.includes("hits")) return { hits: [], totalCount: count?.count ?? 0 };
      const rows = rowsOf<{ textId: number; documentId: string; rank: number }>(
        `SELECT document_index.rowid AS textId, documents.id AS documentId,
           bm25(document_index, ${TITLE_WEIGHT}, 1) AS rank ${sql}
         ORDER BY rank, documents.id DESC LIMIT ? OFFSET ?`,
        ...values,
        limit + 1,
        offset,
      );
      // The row beyond the page only says that there is more.
      const snippets = snippetsOf(
        expression,
        rows.slice(0, limit).map(({ textId }) => textId),
      );
      const hits = rows.map(({ textId, documentId, rank }): Hit => {
        return { documentId, score: -rank, snippet: snippets.get(textId) ?? "" };
      });
      return { hits, totalCount: count?.count ?? 0 };
    },
  };
}

/** Shows texts by their passages in `document_passages`. */
export function createSnippets(
  database: LibsqlDatabase.Database,
): (expression: SearchExpression, textIds: readonly number[]) => Map<number, string> {
  const rowsOf = <Row>(sql: string, ...values: unknown[]) => database.prepare(sql).all(...values) as Row[]; // as selected
  const shown = createPassageMarker();

  /** The best passage of each text: one with all that is looked for, else one with some of it, else the title. */
  return function snippetsOf(
    { wholePassage, anyPassage }: SearchExpression,
    textIds: readonly number[],
  ): Map<number, string> {
    const places = new Map<number, number>();
    const choose = (expression: string, part: "text" | "title") => {
      const open = textIds.filter((id) => !places.has(id));
      if (open.length === 0) return;
      const found = rowsOf<{ place: number }>(
        `SELECT min(rowid) AS place FROM document_passages WHERE document_passages MATCH ?
           AND (rowid & ${2 ** PASSAGE_BITS - 1}) ${part === "text" ? ">" : "="} 0
           AND +(rowid >> ${PASSAGE_BITS}) IN (${open.map(() => "?").join(", ")})
         GROUP BY rowid >> ${PASSAGE_BITS}`,
        expression,
        ...open,
      );
      for (const { place } of found) places.set(Math.floor(place / 2 ** PASSAGE_BITS), place);
    };
    choose(wholePassage, "text");
    choose(anyPassage, "text");
    choose(anyPassage, "title");
    const ids = [...places.values()];
    const passages = rowsOf<{ rowid: number; text: string }>(
      `SELECT rowid, text FROM document_passages WHERE rowid IN (${ids.map(() => "?").join(", ")})`,
      ...ids,
    );
    const snippets = shown.snippetsOf(anyPassage, passages);
    return new Map([...places].map(([id, place]) => [id, snippets.get(place) ?? ""]));
  };
}

/** Marks the matches in passages, in a table of nothing else: a prefix costs what these hold, not what all do. */
function createPassageMarker() {
  const database = new LibsqlDatabase(":memory:");
  database.exec("CREATE VIRTUAL TABLE shown USING fts5(text, tokenize='porter unicode61 remove_diacritics 2')");

  return {
    snippetsOf(expression: string, passages: readonly { rowid: number; text: string }[]): Map<number, string> {
      database.exec("DELETE FROM shown");
      const insert = database.prepare("INSERT INTO shown (rowid, text) VALUES (?, ?)");
      for (const { rowid, text } of passages) insert.run(rowid, text);
      const rows = database
        .prepare("SELECT rowid, highlight(shown, 0, ?, ?) AS marked FROM shown WHERE shown MATCH ?")
        .all(OPEN, CLOSE, expression) as { rowid: number; marked: string }[]; // as selected
      return new Map(rows.map(({ rowid, marked }) => [rowid, snippetOf(marked)]));
    },
  };
}
