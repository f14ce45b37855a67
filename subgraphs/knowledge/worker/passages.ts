/**
 * A word, or what FTS5 takes for several of them in a row, as letters with marks that are not diacritics to it. The beginning of it, if
 * it is longer than any word of a query: V8's stack does not hold a run of millions.
 */
const WORD = /[\p{L}\p{M}\p{N}\p{Co}]{1,1024}/gu;

/** Where the words of a text stand. */
export function wordPlaces(text: string): { begin: number; end: number }[] {
  return Array.from(text.matchAll(WORD), ({ 0: word, index }) => ({ begin: index, end: index + word.length }));
}

export function wordsOf(text: string): string[] {
  return text.match(WORD) ?? [];
}

/** A phrase of this many words at most is compared as a whole: passages overlap by more. See readText. */
export const MAX_PHRASE_WORDS = 32;

/** Characters of a passage that are not in the next. FTS5's snippet() is quadratic in the matches of a row. */
const STEP = 2_000;
const OVERLAP_WORDS = 2 * MAX_PHRASE_WORDS;
/** Characters between two words: of more white space or signs only the beginning is kept. */
const MAX_SIGNS = 16;
/** Queries are bounded, so no phrase of one is longer than this in the text that is kept. */
const MAX_OVERLAP = 2_500;
/** Occurrences of a word that count for the rank of a document. BM25 gives further ones next to nothing. */
const MAX_OCCURRENCES = 16;

export interface ReadText {
  /** Each word of the text, as often as it counts: repetitions do not raise the cost of ranking. */
  ranked: string;
  /**
   * The text in pieces of bounded length. Each begins with a word, and goes on into the next by as much as a phrase may be long: each
   * phrase of the text lies in some passage as a whole.
   */
  passages: string[];
}

/** Reads a text for the index, in time that grows with its length. */
export function readText(text: string): ReadText {
  const parts: string[] = [];
  const ranked: string[] = [];
  const occurrences = new Map<string, number>();
  /** Of the words, in what is kept. */
  const starts: number[] = [];
  let kept = 0;
  const keep = (part: string) => {
    parts.push(part);
    kept += part.length;
  };
  let end = 0;
  for (const { 0: word, index } of text.matchAll(WORD)) {
    // Right behind another: the rest of a word that is too long.
    if (index !== end || end === 0) {
      if (index !== end) keep(text.slice(end, Math.min(index, end + MAX_SIGNS)).toWellFormed());
      starts.push(kept);
      keep(word);
      const key = word.toLowerCase();
      const count = occurrences.get(key) ?? 0;
      if (count < MAX_OCCURRENCES) {
        occurrences.set(key, count + 1);
        ranked.push(word);
      }
    }
    end = index + word.length;
  }
  keep(text.slice(end, end + MAX_SIGNS).toWellFormed());
  return { ranked: ranked.join(" "), passages: cut(parts.join(""), starts) };
}

function cut(text: string, starts: readonly number[]): string[] {
  const passages: string[] = [];
  const startOf = (word: number) => starts[word] ?? text.length;
  for (let first = 0, next = 0; startOf(first) < text.length || first === 0; first = next) {
    const begin = first === 0 ? 0 : startOf(first);
    next = first + 1;
    while (next < starts.length && startOf(next) < begin + STEP) next += 1;
    let last = next + OVERLAP_WORDS;
    while (last > next + 1 && startOf(last) > startOf(next) + MAX_OVERLAP) last -= 1;
    passages.push(text.slice(begin, startOf(last)));
    if (next >= starts.length) break;
  }
  return passages;
}
