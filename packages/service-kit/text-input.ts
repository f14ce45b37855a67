import { z } from "zod";

/** Any text without NUL (programs and stores end text there) and without lone surrogates (they have no UTF-8). */
export const plainText = (maxLength: number) =>
  z
    .string()
    .max(maxLength, `must have at most ${maxLength} characters`)
    .refine((text) => !text.includes("\0"), "must not have a NUL character")
    .refine((text) => text.isWellFormed(), "must be well-formed Unicode");

/** Text of at least one visible character; surrounding space is dropped. */
export const filled = (maxLength: number) => z.string().trim().min(1, "must not be empty").pipe(plainText(maxLength));

/** One line: as `filled`, without control characters. */
export const line = (maxLength: number) =>
  filled(maxLength).refine((text) => !/\p{Cc}/u.test(text), "must be one line, without control characters");

const MAX_TAGS = 32;
export const MAX_TAG_LENGTH = 64;

/** Tags of a tool or a document, each once. */
export const tags = z
  .array(line(MAX_TAG_LENGTH))
  .max(MAX_TAGS, `must have at most ${MAX_TAGS} tags`)
  .transform((list) => [...new Set(list)]);

/** A check for arrays: each item's key comes once. The problem is at the later item's `field`. */
export function withoutDuplicates<Item>(keyOf: (item: Item) => string, field: string, message: string) {
  return z.check<Item[]>((context) => {
    const seen = new Set<string>();
    for (const [index, item] of context.value.entries()) {
      const key = keyOf(item);
      if (seen.has(key)) {
        context.issues.push({ code: "custom", input: context.value, path: [index, field], message });
      }
      seen.add(key);
    }
  });
}
