import { wordPlaces } from "./passages.ts";

/** The marks around matches in a passage until they are shown: no text contains them. */
export const OPEN = "\u0001";
export const CLOSE = "\u0002";

const SNIPPET_WORDS = 32;

/**
 * The part of a passage with the most matches, its matches between ⟦ and ⟧. In time that grows with the passage, which FTS5's own
 * snippet() is not.
 * @param marked with OPEN and CLOSE around each match.
 */
export function snippetOf(marked: string): string {
  const words = readWords(marked);
  const start = bestStart(words);
  const shown = words.slice(start, start + SNIPPET_WORDS);
  const first = shown[0];
  const last = shown.at(-1);
  if (!first || !last) return plain(marked);
  const whole = start + SNIPPET_WORDS >= words.length;
  // The marks around a match that goes on beyond an edge lie beyond it.
  const text =
    (first.matches && start > 0 ? OPEN : "") +
    marked.slice(start === 0 ? 0 : first.begin, whole ? marked.length : last.end) +
    (last.matches && !whole ? CLOSE : "");
  return `${start > 0 ? "…" : ""}${plain(text)}${whole ? "" : "…"}`;
}

function plain(text: string): string {
  return text
    .replaceAll("⟦", "[")
    .replaceAll("⟧", "]")
    .replaceAll(OPEN, "⟦")
    .replaceAll(CLOSE, "⟧")
    .replaceAll(/\s+/g, " ")
    .trim();
}

interface Word {
  begin: number;
  end: number;
  matches: boolean;
}

function readWords(marked: string): Word[] {
  const words: Word[] = [];
  let position = 0;
  let matches = false;
  for (const { begin, end } of wordPlaces(marked)) {
    const between = marked.slice(position, begin);
    const open = between.lastIndexOf(OPEN);
    if (open !== -1 || between.includes(CLOSE)) matches = open > between.lastIndexOf(CLOSE);
    words.push({ begin, end, matches });
    position = end;
  }
  return words;
}

/** Where to begin so that most matches are seen, those in the middle. */
function bestStart(words: readonly Word[]): number {
  let count = 0;
  let best = 0;
  let bestEnd = 0;
  for (const [index, { matches }] of words.entries()) {
    if (matches) count += 1;
    if (words[index - SNIPPET_WORDS]?.matches) count -= 1;
    if (count > best) {
      best = count;
      bestEnd = index;
    }
  }
  const first = words.findIndex(({ matches }, index) => matches && index > bestEnd - SNIPPET_WORDS);
  const room = Math.max(0, SNIPPET_WORDS - (bestEnd - first + 1));
  return Math.max(0, Math.min(first - Math.floor(room / 2), words.length - SNIPPET_WORDS));
}
