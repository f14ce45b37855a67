import fc from "fast-check";
import { expect, test } from "vitest";
import { freeSlug, isSlug, slugFamily, slugFromName } from "./slug.ts";

const name = fc.oneof(
  fc.string({ unit: "grapheme" }),
  fc.string({ unit: "binary" }),
  fc.string({ minLength: 50, maxLength: 200 }),
);

test("any name gives a valid slug", () => {
  fc.assert(
    fc.property(name, (text) => isSlug(slugFromName(text))),
    { numRuns: 500 },
  );
});

test("a name that is a slug stays as it is, but for hyphens at its end", () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[a-z]([a-z0-9]|-[a-z0-9]){1,30}$/), (slug) => {
      expect(slugFromName(slug)).toBe(slug);
    }),
  );
});

test("names, taken one after the other, give valid slugs that are all different", () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom("a", "Tool", "tool 2", "x".repeat(80), "é!", ""), { maxLength: 40 }),
      (names) => {
        const taken = new Set<string>();
        for (const text of names) {
          const base = slugFromName(text);
          // What the store would be asked for must be enough to know.
          const family = new Set([...taken].filter((slug) => slug.startsWith(slugFamily(base))));
          const slug = freeSlug(base, family);
          expect(isSlug(slug)).toBe(true);
          expect(taken.has(slug)).toBe(false);
          taken.add(slug);
        }
      },
    ),
  );
});
