import { lastWordOf, type SearchQuery, type SearchTerm } from "../search-query.ts";
import { MAX_PHRASE_WORDS, wordsOf } from "./passages.ts";

/** A query as the full-text tables take it: each text here is one for FTS5's MATCH. */
export interface SearchExpression {
  /** For `document_index`: the words. It decides the rank. */
  words: string;
  /** What `words` is made of. */
  parts: WordParts;
  /** For `document_passages`: expressions that must each match some passage of a document. */
  phrases: string[];
  /** No document may have all of one of these. */
  excludedPhrases: string[][];
  /** For `document_words`: beginnings that a word of the document must have, each. */
  prefixes: string[];
  /** Beginnings that none may have. */
  excludedPrefixes: string[];
  /** For `document_passages`: the best passage matches the whole query, a good one a part of it. */
  wholePassage: string;
  anyPassage: string;
}

export interface WordParts {
  /** All of them. */
  plain: string[];
  /** Of each: a word whose stem begins as the prefix, or one of the words, which begin with it; and a word that begins with it. */
  beginnings: Beginning[];
  /** None of them. */
  excluded: string[];
  /** No word may begin so. */
  excludedPrefixes: string[];
}

interface Beginning {
  prefix: string;
  words: string[];
}

/**
 * Stems do not begin like their words ("generation" has the stem "gener", which does not begin with "generati"). So a prefix
 * becomes the words in use that begin with it, by `wordsBeginningWith`, and the documents must hold one of them unstemmed too.
 * Null when there is nothing to look for.
 */
export function toSearchExpression(
  { terms, excluded }: SearchQuery,
  wordsBeginningWith: (prefix: string, limit: number) => string[],
): SearchExpression | null {
  if (terms.length === 0) return null;
  const open = [...terms, ...excluded].filter(isOpen).length;
  const wordsEach = Math.max(1, Math.floor(MAX_WORDS / Math.max(1, open)));

  const beginningOf = (prefix: string): Beginning => ({ prefix, words: wordsBeginningWith(prefix, wordsEach) });
  /** The phrase `before` and then the prefix. */
  const beginning = (before: string, { prefix, words }: Beginning) =>
    `(${[`${quoted(`${before} ${prefix}`)} *`, ...words.map((word) => quoted(`${before} ${word}`))].join(" OR ")})`;
  const phrasesOf = (term: SearchTerm): string[] => {
    const words = wordsOf(term.text);
    if (!isOpen(term)) return windowsOf(words);
    const before = words.slice(0, -1);
    const phrase = beginning(before.slice(1 - MAX_PHRASE_WORDS).join(" "), beginningOf(lastWordOf(term.text)));
    return before.length < MAX_PHRASE_WORDS ? [phrase] : [...windowsOf(before), phrase];
  };

  const plain = terms.flatMap((term) => (isOpen(term) ? wordsOf(term.text).slice(0, -1) : wordsOf(term.text)));
  const beginnings = terms.filter(isOpen).map(({ text }) => beginningOf(lastWordOf(text)));
  const groups = beginnings.map((one) => beginning("", one));
  // Terms side by side are joined by AND, and those without a word for FTS5 are ignored; an explicit AND would find nothing then.
  const wanted = [...(plain.length === 0 ? [] : [`(${plain.map(quoted).join(" ")})`]), ...groups].join(" AND ");
  const unwanted = excluded.filter((term) => isWord(term) && !isOpen(term)).map(({ text }) => text);
  const unwantedBeginnings = excluded
    .filter((term) => isWord(term) && isOpen(term))
    .map(({ text }) => lastWordOf(text));
  const passages = [...new Set(terms.flatMap(phrasesOf))];
  return {
    words: unwanted.length === 0 ? wanted : `(${wanted}) NOT (${unwanted.map(quoted).join(" OR ")})`,
    parts: { plain, beginnings, excluded: unwanted, excludedPrefixes: unwantedBeginnings },
    phrases: terms.filter((term) => !isWord(term)).flatMap(phrasesOf),
    excludedPhrases: excluded.filter((term) => !isWord(term)).map(phrasesOf),
    prefixes: beginnings.map(({ prefix }) => prefixOf(prefix)),
    excludedPrefixes: unwantedBeginnings.map(prefixOf),
    wholePassage: passages.join(" AND "),
    anyPassage: passages.join(" OR "),
  };
}

/** Words that all prefixes of a query may stand for, together: FTS5 limits the size of expressions. */
export const MAX_WORDS = 128;

/** Whether a term has a beginning to look for. */
export function isOpen(term: SearchTerm): boolean {
  return term.prefix && lastWordOf(term.text) !== "";
}

/** Whether FTS5 takes the term for one word. Marks may be part of words for it or not. */
function isWord({ text }: SearchTerm): boolean {
  return wordsOf(text).length === 1 && !/\p{M}/u.test(text);
}

function prefixOf(prefix: string): string {
  return `${quoted(prefix)} *`;
}

/** Phrases that a longer one has in it, so overlapping that hardly another text has them all. */
function windowsOf(words: readonly string[]): string[] {
  if (words.length <= MAX_PHRASE_WORDS) return [quoted(words.join(" "))];
  const step = MAX_PHRASE_WORDS / 2;
  const count = Math.ceil((words.length - MAX_PHRASE_WORDS) / step) + 1;
  const windows = Array.from({ length: count }, (_, window) =>
    quoted(words.slice(window * step, window * step + MAX_PHRASE_WORDS).join(" ")),
  );
  return [...new Set(windows)];
}

function quoted(text: string): string {
  return `"${text.replaceAll('"', '""')}"`;
}
