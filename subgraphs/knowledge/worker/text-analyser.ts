import { isUtf8 } from "node:buffer";
import LibsqlDatabase from "libsql";
import { MAX_WORD, type StoredTerm } from "../document-models.mongodb.ts";
import { createSnippets, searchCondition } from "./document-searcher.ts";
import { PASSAGE_BITS, createTextIndex } from "./document-writer.ts";
import { readText } from "./passages.ts";
import type { SearchExpression } from "./search-expression.ts";

export interface AnalysedText {
  terms: StoredTerm[];
  words: string[];
  length: number;
}

export interface SearchedText {
  id: string;
  title: string;
  text: string;
}

/**
 * SQLite's full-text tables, in memory, over some texts at a time: its tokenizer and stemmer are those of the adapter on SQLite, so both
 * find the same.
 */
export interface TextAnalyser {
  analyse(title: string, text: string): AnalysedText;
  /** What SQLite takes a piece of a query for: stems, and words as they are. */
  stemsOf(text: string): string[];
  wordsOf(text: string): string[];
  /** Which texts match all of an expression. */
  matching(expression: SearchExpression, texts: readonly SearchedText[]): Set<string>;
  snippetsOf(expression: SearchExpression, texts: readonly SearchedText[]): Map<string, string>;
}

/** Characters of a text that are looked at first: most often they have all that is looked for. */
const BEGINNING = 100_000;
/** Passages at the end of a beginning, which may be others in the whole. */
const UNSURE_PASSAGES = 4;

const WORDS = "tokenize='unicode61 remove_diacritics 2'";
const STEMS = "tokenize='porter unicode61 remove_diacritics 2'";

export function createTextAnalyser(): TextAnalyser {
  const database = new LibsqlDatabase(":memory:");
  for (const table of [
    "TABLE documents (id PRIMARY KEY, toolId)",
    "TABLE document_texts (id INTEGER PRIMARY KEY, documentId, title, text)",
    `VIRTUAL TABLE document_index USING fts5(title, text, ${STEMS})`,
    `VIRTUAL TABLE document_passages USING fts5(text, ${STEMS})`,
    `VIRTUAL TABLE document_words USING fts5(title, text, detail=none, ${WORDS})`,
    `VIRTUAL TABLE stems USING fts5(title, text, ${STEMS})`,
    "VIRTUAL TABLE stem_counts USING fts5vocab(stems, 'col')",
    "VIRTUAL TABLE stem_places USING fts5vocab(stems, 'instance')",
    `VIRTUAL TABLE words USING fts5(title, text, ${WORDS})`,
    "VIRTUAL TABLE word_counts USING fts5vocab(words, 'row')",
    "VIRTUAL TABLE word_places USING fts5vocab(words, 'instance')",
  ])
    database.exec(`CREATE ${table}`);
  const run = (sql: string, ...values: unknown[]) => database.prepare(sql).run(...values);
  const rowsOf = <Row>(sql: string, ...values: unknown[]) => database.prepare(sql).all(...values) as Row[]; // as selected
  const { addText, addPassages } = createTextIndex(database);
  const snippetsOfTexts = createSnippets(database);

  function load(texts: readonly SearchedText[]): void {
    for (const table of ["documents", "document_texts", "document_index", "document_passages", "document_words"])
      run(`DELETE FROM ${table}`);
    for (const { id, title, text } of texts) {
      run("INSERT INTO documents (id) VALUES (?)", id);
      addText(id, title, text);
    }
  }

  function matchingOf(expression: SearchExpression, texts: readonly SearchedText[]): string[] {
    if (texts.length === 0) return [];
    load(texts);
    const { sql, values } = searchCondition(expression, { toolIds: null, tag: null });
    return rowsOf<{ id: string }>(`SELECT documents.id AS id ${sql}`, ...values).map(({ id }) => id);
  }

  const showsAll = ({ wholePassage }: SearchExpression) =>
    rowsOf(
      `SELECT 1 FROM document_passages WHERE document_passages MATCH ? AND rowid & ${2 ** PASSAGE_BITS - 1} LIMIT 1`,
      wholePassage,
    ).length > 0;

  function tokensOf(kind: "stem" | "word", text: string): string[] {
    run(`DELETE FROM ${kind}s`);
    run(`INSERT INTO ${kind}s (title, text) VALUES ('', ?)`, text);
    return rowsOf<{ term: string }>(`SELECT term FROM ${kind}_places ORDER BY offset`).map(({ term }) => term);
  }

  return {
    analyse(title, text) {
      // As bytes: SQLite cuts a very long word within a character, too.
      const read = (term: ArrayBuffer) => (isUtf8(term) ? Buffer.from(term).toString() : null);
      run("DELETE FROM stems");
      run("INSERT INTO stems (title, text) VALUES (?, ?)", title, readText(text).ranked);
      const terms = new Map<string, StoredTerm>();
      let length = 0;
      for (const { term, col, cnt } of rowsOf<{ term: ArrayBuffer; col: string; cnt: number }>(
        "SELECT CAST(term AS BLOB) AS term, col, cnt FROM stem_counts",
      )) {
        length += cnt;
        const stem = read(term);
        if (stem === null) continue;
        const found = terms.get(stem) ?? { s: stem, t: 0, x: 0 };
        found[col === "title" ? "t" : "x"] += cnt;
        terms.set(stem, found);
      }
      run("DELETE FROM words");
      run("INSERT INTO words (title, text) VALUES (?, ?)", title, text);
      const words = new Set<string>();
      for (const { term } of rowsOf<{ term: ArrayBuffer }>("SELECT CAST(term AS BLOB) AS term FROM word_counts")) {
        const word = read(term);
        if (word !== null) words.add(word.slice(0, MAX_WORD).toWellFormed());
      }
      return { terms: [...terms.values()], words: [...words], length };
    },

    stemsOf: (text) => tokensOf("stem", text),
    wordsOf: (text) => tokensOf("word", text),

    matching(expression, texts) {
      // The whole of a text has all that its beginning has.
      const sure = excludes(expression) ? [] : matchingOf(expression, texts.flatMap(beginningOf));
      const matching = new Set(sure);
      const unsure = texts.filter(({ id }) => !matching.has(id));
      for (const id of matchingOf(expression, unsure)) matching.add(id);
      return matching;
    },

    snippetsOf(expression, texts) {
      return new Map(
        texts.map(({ id, title, text }) => {
          run("DELETE FROM document_passages");
          let places = 0;
          for (const passages of passagesOf(text)) {
            const added = [title, ...passages].slice(places);
            addPassages(1, places, added);
            places += added.length;
            // The first of these is shown, whatever comes after it.
            if (showsAll(expression)) break;
          }
          return [id, snippetsOfTexts(expression, [1]).get(1) ?? ""];
        }),
      );
    },
  };
}

function excludes({ parts, excludedPhrases, excludedPrefixes }: SearchExpression): boolean {
  return parts.excluded.length + excludedPhrases.length + excludedPrefixes.length > 0;
}

/** Up to the end of a word; nothing where a text is no longer than that. */
function beginningOf({ text, ...rest }: SearchedText): SearchedText[] {
  const end = text.length > BEGINNING ? text.lastIndexOf(" ", BEGINNING) : -1;
  return end === -1 ? [] : [{ ...rest, text: text.slice(0, end) }];
}

/** Those of its beginning, where it is long, and then all. */
function* passagesOf(text: string): Generator<string[]> {
  if (text.length > BEGINNING) yield readText(text.slice(0, BEGINNING)).passages.slice(0, -UNSURE_PASSAGES);
  yield readText(text).passages;
}
