import fc from "fast-check";
import { expect, test } from "vitest";
import { freeSlug, isSlug, slugFromName } from "./slug.ts";

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
      // Some letters, such as Hebrew's alef, have no sound of their own, and no letter in Latin.
      fc.pre(text.some((letter) => slugFromName(`x${letter}`) !== "x"));
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

/** As the store answers, with the number of times that it was asked. */
function taking(taken: ReadonlySet<string>) {
  const asked = { times: 0 };
  return {
    asked,
    takenOf: async (slugs: readonly string[]) => {
      asked.times += 1;
      return new Set(slugs.filter((slug) => taken.has(slug)));
    },
  };
}

test("names, taken one after the other, give valid slugs that are all different", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom("a", "Tool", "tool 2", "x".repeat(80), "é!", ""), { maxLength: 40 }),
      async (names) => {
        const taken = new Set<string>();
        for (const text of names) {
          const slug = await freeSlug(slugFromName(text), taking(taken).takenOf);
          expect(isSlug(slug)).toBe(true);
          expect(taken.has(slug)).toBe(false);
          taken.add(slug);
        }
      },
    ),
  );
});

const numbered = (base: string, number: number) =>
  number === 1 ? base : `${base.slice(0, 62 - String(number).length)}-${number}`;

test.each(["tool", "x".repeat(63), `${"x".repeat(58)}-1234`])(
  "numbers of %s that are taken without a gap are followed by the next, found in few looks however many they are",
  async (base) => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(fc.integer({ min: 0, max: 120 }), fc.integer({ min: 0, max: 50_000 })),
        async (count) => {
          const taken = new Set(Array.from({ length: count }, (_, index) => numbered(base, index + 1)));
          const { takenOf, asked } = taking(taken);
          expect(await freeSlug(base, takenOf)).toBe(numbered(base, count + 1));
          expect(asked.times).toBeLessThanOrEqual(5);
        },
      ),
    );
  },
);

test("among numbers with gaps it is free, and follows one that is taken", async () => {
  await fc.assert(
    fc.asyncProperty(fc.uniqueArray(fc.integer({ min: 1, max: 300 })), async (numbers) => {
      const taken = new Set(numbers.map((number) => numbered("tool", number)));
      const slug = await freeSlug("tool", taking(taken).takenOf);
      expect(taken.has(slug)).toBe(false);
      const number = slug === "tool" ? 1 : Number(slug.slice("tool-".length));
      if (number > 1) expect(taken.has(numbered("tool", number - 1))).toBe(true);
      expect(slug === "tool").toBe(!numbers.includes(1));
    }),
  );
});
