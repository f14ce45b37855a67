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

/** What all slugs that `freeSlug` could try begin with: what to ask the store for. */
export function slugFamily(base: string): string {
  return base.slice(0, MAX_SLUG_LENGTH - "-9999999".length);
}

/** `base`, or `base-2`, `base-3`, …: the first that is not taken. Shortened where the number would not fit. */
export function freeSlug(base: string, taken: ReadonlySet<string>): string {
  let candidate = base;
  for (let number = 2; taken.has(candidate); number++) {
    const suffix = `-${number}`;
    candidate = base.slice(0, MAX_SLUG_LENGTH - suffix.length) + suffix;
  }
  return candidate;
}
