import { isId } from "@toolyard/service-kit";
import anyAscii from "any-ascii";

export const MIN_SLUG_LENGTH = 2;
export const MAX_SLUG_LENGTH = 63;

/** 2 to 63 of `a-z`, `0-9`, `-`, beginning with a letter; not what is taken for an id wherever a slug does as well. */
export function isSlug(text: string): boolean {
  const hasLength = text.length >= MIN_SLUG_LENGTH && text.length <= MAX_SLUG_LENGTH;
  return hasLength && /^[a-z][a-z0-9-]*$/.test(text) && !isId(text);
}

/**
 * A slug made from a name: its letters, of any script, in the Latin alphabet (emoji by their names), everything else a hyphen. Always
 * one, `tool` when nothing is left.
 */
export function slugFromName(name: string): string {
  const words = name
    .normalize("NFC")
    .replaceAll(/[^\0-\x7f]/gu, latinOf)
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "-")
    .replaceAll(/^-+|-+$/g, "");
  if (words === "") return "tool";
  const isPlain = /^[a-z]/.test(words) && words.length >= MIN_SLUG_LENGTH && !isId(words);
  const slug = isPlain ? words : `tool-${words}`;
  return slug.slice(0, MAX_SLUG_LENGTH).replace(/-+$/, "");
}

/** Each Chinese character is a word; soft signs and the like, which become apostrophes, are not the end of one. */
function latinOf(character: string): string {
  const latin = anyAscii(character).replaceAll(/['`]/g, "");
  return /\p{Script=Han}/u.test(character) ? ` ${latin} ` : latin;
}

/** Slugs that one look at the store is about. */
const PROBES = 24;

/**
 * `base`, or `base-2`, `base-3`, …: one that is not taken, shortened where the number would not fit. Of numbers that are taken without a
 * gap it is the next, otherwise one after a number that is taken. It takes looks as the logarithm of how many there are.
 */
export async function freeSlug(
  base: string,
  takenOf: (slugs: readonly string[]) => Promise<ReadonlySet<string>>,
): Promise<string> {
  // The slug with number `taken` is, that with number `free` is not; 1 is the base.
  let [taken, free] = [0, Number.POSITIVE_INFINITY];
  while (free - taken > 1) {
    const numbers = Array.from({ length: PROBES }, (_, index) =>
      free === Number.POSITIVE_INFINITY
        ? Math.max(1, taken) * 2 ** index
        : taken + Math.ceil(((free - taken) * (index + 1)) / (PROBES + 1)),
    ).filter((number) => number > taken && number < free);
    const found = await takenOf(numbers.map((number) => slugWith(base, number)));
    for (const number of numbers) {
      if (found.has(slugWith(base, number))) taken = number;
      else {
        free = number;
        break;
      }
    }
  }
  return slugWith(base, free);
}

function slugWith(base: string, number: number): string {
  if (number === 1) return base;
  const suffix = `-${number}`;
  return base.slice(0, MAX_SLUG_LENGTH - suffix.length) + suffix;
}
