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
  const seen = new Set<string>();
  for (const [, minus, phrase, phraseStar, word] of readable.matchAll(/(-?)(?:"([^"]*)"?(\*?)|([^\s"]+))/gu)) {
    if (seen.size === MAX_TERMS) break;
    const term =
      word === undefined
        ? { text: phrase ?? "", prefix: phraseStar === "*" }
        : { text: word.replace(/\*+$/, ""), prefix: word.endsWith("*") };
    if (!hasWord(term.text)) continue;
    // Once is enough.
    const key = `${minus} ${term.prefix} ${folded(term.text)}`;
    if (seen.has(key)) continue;
    seen.add(key);
    (minus === "-" ? query.excluded : query.terms).push(term);
  }
  return query;
}

function hasWord(text: string): boolean {
  return /[\p{L}\p{N}\p{Co}]/u.test(text);
}

/** The last word, as the index spells words: lower case, without diacritics. */
export function lastWordOf(text: string): string {
  return (
    folded(text)
      .match(/[\p{L}\p{N}\p{Co}]+/gu)
      ?.at(-1) ?? ""
  );
}

function folded(text: string): string {
  return text
    .normalize("NFD")
    .replaceAll(/\p{Mn}/gu, "")
    .toLowerCase();
}
