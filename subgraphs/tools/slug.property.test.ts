import fc from "fast-check";
import { expect, test } from "vitest";
import { freeSlug, isSlug, slugFamily, slugFromName } from "./slug.ts";

const name = fc.oneof(
  fc.uuid(),
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

test.each([
  ["天气服务", "tian-qi-fu-wu"],
  ["weather 天气", "weather-tian-qi"],
  ["こんにちは", "konnichiha"],
  ["カタカナ", "katakana"],
  ["ゲーム".normalize("NFD"), "gemu"],
  ["날씨 서버", "nalssi-seobeo"],
  ["Погода в сети", "pogoda-v-seti"],
  ["Подъезд, соль", "podezd-sol"],
  ["Мой".normalize("NFD"), "moy"],
  ["cafe\u0301 u\u0308\u0323", "cafe-u"],
  ["Καιρός", "kairos"],
  ["طقس", "tqs"],
  ["Straße in Łódź", "strasse-in-lodz"],
  ["Œuvre naïve", "oeuvre-naive"],
  ["Đà Nẵng", "da-nang"],
  ["𝓕𝓪𝓷𝓬𝔂", "fancy"],
  ["🚀🔥", "rocket-fire"],
  ["２４時間", "tool-24-shi-jian"],
  ["ABCDEF01-1234-4123-8123-0123456789ab", "tool-abcdef01-1234-4123-8123-0123456789ab"],
])("the name %s gives the slug %s", (text, slug) => {
  expect(slugFromName(text)).toBe(slug);
});

test("names of letters give slugs made of them, whatever their script", () => {
  const letters = [
    ["\u4e00", "\u9fa5"], // Chinese
    ["\u3041", "\u3096"], // Hiragana
    ["\u30a1", "\u30fa"], // Katakana
    ["\uac00", "\ud7a3"], // Hangul
    ["\u0430", "\u044f"], // Cyrillic
    ["\u03b1", "\u03c9"], // Greek
    ["\u0627", "\u063a"], // Arabic
    ["\u05d0", "\u05ea"], // Hebrew
    ["\u0905", "\u0939"], // Devanagari
    ["\u0e01", "\u0e2e"], // Thai
  ] as const;
  const word = fc.constantFrom(...letters).chain(([first, last]) =>
    fc.array(
      fc
        .integer({ min: first.codePointAt(0) ?? 0, max: last.codePointAt(0) ?? 0 })
        .map((code) => String.fromCodePoint(code)),
      { minLength: 4, maxLength: 40 },
    ),
  );
  fc.assert(
    fc.property(word, (text) => {
      const slug = slugFromName(text.join(""));
      expect(isSlug(slug)).toBe(true);
      expect(slug).not.toMatch(/^tool/);
    }),
    { numRuns: 1000 },
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
