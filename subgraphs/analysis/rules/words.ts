const STOP_WORDS = new Set(
  (
    "a an and any are as at be been but by can could do does for from get give gives has have how if in into is it its let lets may " +
    "must need needs not of on one or our out over shall should so some such than that the their them then there these they this to " +
    "up us use used user users uses using via want was we what when where which who will with would you your able support supports tool tools server servers mcp"
  ).split(" "),
);

/** The significant words of a text, lower case, without stop words, endings cut off. Deterministic and language-blind beyond English. */
export function wordsOf(text: string): string[] {
  return text
    .replaceAll(/([a-z0-9])([A-Z])/g, "$1 $2")
    .toLowerCase()
    .split(/[^\p{L}\p{N}]+/u)
    .filter((word) => word.length > 1 && !STOP_WORDS.has(word))
    .map(stem);
}

/** Cuts common English endings, so that "searches" and "searching" meet. */
export function stem(word: string): string {
  if (word.length > 4 && word.endsWith("ies")) return `${word.slice(0, -3)}y`;
  if (word.length > 5 && word.endsWith("ing")) return undouble(word.slice(0, -3));
  if (word.length > 4 && word.endsWith("ed")) return undouble(word.slice(0, -2));
  if (word.length > 4 && /(?:s|x|z|ch|sh)es$/.test(word)) return word.slice(0, -2);
  if (word.length > 3 && word.endsWith("s") && !word.endsWith("ss")) return withoutE(word.slice(0, -1));
  return withoutE(word);
}

function undouble(word: string): string {
  return withoutE(word.replace(/([bdgmnprt])\1$/, "$1"));
}

/** "store", "stores", "storing" → "stor". */
function withoutE(word: string): string {
  return word.length > 4 && word.endsWith("e") ? word.slice(0, -1) : word;
}

/** The share of `wanted` that is in `words`, from 0 to 1; 0 where nothing is wanted. */
export function coverage(wanted: readonly string[], words: ReadonlySet<string>): number {
  if (wanted.length === 0) return 0;
  return wanted.filter((word) => words.has(word)).length / wanted.length;
}

const MAX_SENTENCE = 300;

/** The sentences of a text, each exactly as it stands there, of at most 300 characters. */
export function sentencesOf(text: string): string[] {
  return text
    .split(/(?<=[.!?])\s+|\n+/u)
    .map((sentence) => sentence.trim().slice(0, MAX_SENTENCE).trimEnd())
    .filter((sentence) => sentence !== "");
}
