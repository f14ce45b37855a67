import { createRequire } from "node:module";

/** The cost of a cheap variation to a guesser, as a share of a whole known word. */
const OTHER_CHARACTER = 0.5;
/** A password made of so many known pieces, or of fewer, is among the first that a guesser tries. */
const MAX_PIECES = 2;
const MIN_PIECE = 3;
const MIN_DISTINCT = 5;
const ROWS = [
  "abcdefghijklmnopqrstuvwxyz",
  "01234567890",
  "qwertyuiop",
  "asdfghjkl",
  "zxcvbnm",
  "1q2w3e4r5t6y7u8i9o0p",
];
const RUNS = [...ROWS, ...ROWS.map((row) => Array.from(row).toReversed().join(""))];
const LEET: Readonly<Record<string, string>> = {
  "4": "a",
  "@": "a",
  "3": "e",
  "1": "i",
  "!": "i",
  "0": "o",
  "5": "s",
  $: "s",
  "7": "t",
};

let known: { words: ReadonlySet<string>; longest: number } | null = null;

/** The passwords that people choose most, as leaks have shown; read when first needed, since most processes never do. */
function commonPasswords() {
  if (known) return known;
  // By require, which is at once: what is asked of a password is asked where nothing can wait, too.
  const { dictionary } = createRequire(import.meta.url)("@zxcvbn-ts/language-common") as {
    dictionary: { "passwords-common": string[] };
  };
  const words = dictionary["passwords-common"].filter((word) => word.length >= MIN_PIECE);
  known = { words: new Set(words), longest: Math.max(...words.map((word) => word.length)) };
  return known;
}

/**
 * Whether a password of a bounded length is one that guessers try first: repeated, in a row on the keyboard, or one or two common
 * passwords with little around them. Linear in its length, unlike zxcvbn itself, which takes seconds for a hostile one.
 *
 * @param own Facts about its user, such as the username.
 */
export function isGuessable(password: string, own: readonly string[]): boolean {
  const text = password.normalize("NFKC").toLowerCase();
  const ownWords = new Set(own.map((word) => word.toLowerCase()).filter((word) => word.length >= MIN_PIECE));
  const unleeted = Array.from(text, (character) => LEET[character] ?? character).join("");
  return [...new Set([text, unleeted])].some((variant) => {
    const characters = Array.from(variant);
    if (new Set(characters).size < MIN_DISTINCT) return true;
    const unit = repeatedUnit(characters);
    return pieces(unit, ownWords) <= MAX_PIECES || (unit.length < characters.length && unit.length < 12);
  });
}

/** The shortest beginning that, said again and again, is all of it (Knuth, Morris and Pratt's failure function). */
function repeatedUnit(characters: readonly string[]): readonly string[] {
  const borders = [0];
  for (let at = 1, border = 0; at < characters.length; at++) {
    while (border > 0 && characters[at] !== characters[border]) border = borders[border - 1] ?? 0;
    if (characters[at] === characters[border]) border += 1;
    borders.push(border);
  }
  const period = characters.length - (borders.at(-1) ?? 0);
  return period <= characters.length / 2 ? characters.slice(0, period) : characters;
}

/** How few known pieces it can be written with. */
function pieces(characters: readonly string[], own: ReadonlySet<string>): number {
  const { words, longest } = commonPasswords();
  const reach = Math.max(longest, ...[...own].map((word) => word.length));
  /** Of the first `n` characters. */
  const fewest = [0];
  for (let end = 1; end <= characters.length; end++) {
    let best = (fewest[end - 1] ?? 0) + OTHER_CHARACTER;
    let piece = "";
    for (let start = end - 1; start >= Math.max(0, end - reach); start--) {
      piece = `${characters[start] ?? ""}${piece}`;
      const before = fewest[start] ?? 0;
      if (end - start < MIN_PIECE || before + 1 >= best) continue;
      if (words.has(piece) || own.has(piece) || RUNS.some((run) => run.includes(piece)) || isOneCharacter(piece))
        best = before + 1;
    }
    fewest.push(best);
  }
  return fewest.at(-1) ?? 0;
}

function isOneCharacter(piece: string): boolean {
  return piece.replaceAll(piece[0] ?? "", "") === "";
}
