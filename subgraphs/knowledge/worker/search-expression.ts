import { lastWordOf, type SearchQuery, type SearchTerm } from "../search-query.ts";

/** A query as FTS5 takes it. */
export interface SearchExpression {
  /** For MATCH on the stemmed index. */
  match: string;
  /** Beginnings that a word of the document must have, each. */
  prefixes: string[];
  /** Beginnings that none may have. */
  excludedPrefixes: string[];
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
  const plain = terms.filter((term) => !term.prefix);
  const open = terms.filter((term) => term.prefix);
  const wordsEach = Math.max(1, Math.floor(MAX_WORDS / Math.max(1, open.length)));
  const groups = open.map((term) => {
    const prefix = lastWordOf(term.text);
    const words = prefix === "" ? [] : wordsBeginningWith(prefix, wordsEach);
    const before = term.text.slice(0, startOfLastWord(term.text));
    return `(${[`${quoted(term.text)} *`, ...words.map((word) => quoted(before + word))].join(" OR ")})`;
  });
  // Side by side is AND, where what holds no word for FTS5 counts as nothing; AND itself would find nothing then.
  const words = plain.length === 0 ? [] : [`(${plain.map((term) => quoted(term.text)).join(" ")})`];
  const wanted = [...words, ...groups].join(" AND ");
  const unwanted = excluded.filter((term) => !term.prefix).map((term) => quoted(term.text));
  return {
    match: unwanted.length === 0 ? wanted : `(${wanted}) NOT (${unwanted.join(" OR ")})`,
    prefixes: prefixesOf(open),
    excludedPrefixes: prefixesOf(excluded.filter((term) => term.prefix)),
  };
}

/** Words that all prefixes of a query may stand for, together: FTS5 limits the size of expressions. */
const MAX_WORDS = 128;

function prefixesOf(terms: readonly SearchTerm[]): string[] {
  return terms.map((term) => lastWordOf(term.text)).filter((prefix) => prefix !== "");
}

function startOfLastWord(text: string): number {
  return /[\p{L}\p{M}\p{N}\p{Co}]+[^\p{L}\p{M}\p{N}\p{Co}]*$/u.exec(text)?.index ?? 0;
}

function quoted(text: string): string {
  return `"${text.replaceAll('"', '""')}"`;
}
