/** Something to look for: a word, a phrase, or the beginning of either. */
export interface SearchTerm {
  text: string;
  /** Whether the last word of `text` may go on. */
  prefix: boolean;
}

export interface SearchQuery {
  /** All of them. */
  terms: SearchTerm[];
  /** None of them. */
  excluded: SearchTerm[];
}

const MAX_CHARACTERS = 1_000;
const MAX_TERMS = 32;

/**
 * Reads a query: words, "phrases", -exclusions, prefix*. Every text is one; what has no letter or digit is nothing to look for,
 * a quote that is not closed goes to the end.
 */
export function parseSearchQuery(text: string): SearchQuery {
  const query: SearchQuery = { terms: [], excluded: [] };
  // Cut between characters, not within a surrogate pair; NUL would end the text in SQLite.
  const readable = text.slice(0, MAX_CHARACTERS).toWellFormed().replaceAll("\0", " ");
  let count = 0;
  for (const [, minus, phrase, phraseStar, word] of readable.matchAll(/(-?)(?:"([^"]*)"?(\*?)|([^\s"]+))/gu)) {
    if (count === MAX_TERMS) break;
    const term =
      word === undefined
        ? { text: phrase ?? "", prefix: phraseStar === "*" }
        : { text: word.replace(/\*+$/, ""), prefix: word.endsWith("*") };
    if (!hasWord(term.text)) continue;
    (minus === "-" ? query.excluded : query.terms).push(term);
    count++;
  }
  return query;
}

function hasWord(text: string): boolean {
  return /[\p{L}\p{N}\p{Co}]/u.test(text);
}

/** The last word, as the index spells words: lower case, without diacritics. */
export function lastWordOf(text: string): string {
  const words = text
    .normalize("NFD")
    .replaceAll(/\p{Mn}/gu, "")
    .toLowerCase()
    .match(/[\p{L}\p{N}\p{Co}]+/gu);
  return words?.at(-1) ?? "";
}
