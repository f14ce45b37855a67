import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { MAX_PHRASE_WORDS, readText, wordsOf } from "./passages.ts";

const word = fc.oneof(
  { weight: 6, arbitrary: fc.stringMatching(/^[a-z]{1,9}$/) },
  fc.stringMatching(/^[a-zé漢0-9]{20,400}$/),
  fc.constantFrom("हिन्दी", "e\u0301t", "\u{1d54f}"),
);
const separator = fc.oneof(
  { weight: 6, arbitrary: fc.constant(" ") },
  fc.constantFrom(", ", "\n\n", "-".repeat(300), "😀"),
);
const text = fc
  .array(fc.tuple(word, separator), { size: "max", maxLength: 2_000 })
  .map((parts) => parts.flat().join(""));

describe("the passages of a text", () => {
  test("hold each phrase of it in one of them as a whole, and are bounded", () => {
    fc.assert(
      fc.property(text, fc.nat(), fc.integer({ min: 1, max: MAX_PHRASE_WORDS }), (whole, pick, length) => {
        const passages = readText(whole).passages.map((passage) => ` ${wordsOf(passage).join(" ")} `);
        const words = wordsOf(whole);
        const start = words.length === 0 ? 0 : pick % words.length;
        // As long as a query may be.
        let phrase = words.slice(start, start + length);
        while (phrase.join(" ").length > 1_000) phrase = phrase.slice(0, -1);
        expect(passages.some((passage) => passage.includes(phrase.length === 0 ? "" : ` ${phrase.join(" ")} `))).toBe(
          true,
        );
        for (const passage of readText(whole).passages) expect(passage.length).toBeLessThan(6_000);
      }),
      { numRuns: 200 },
    );
  });

  test("say nothing that is not in it, in its order", () => {
    fc.assert(
      fc.property(text, (whole) => {
        const words = ` ${wordsOf(whole).join(" ")} `;
        for (const passage of readText(whole).passages) expect(words).toContain(` ${wordsOf(passage).join(" ")} `);
      }),
      { numRuns: 50 },
    );
  });

  test.each([
    "a ",
    "漢",
    "漢 ",
    "-",
    "a-",
    " ",
    `${"x".repeat(1_000)} `,
    `${"x".repeat(999)}-`,
    "\u0301",
    "\ud83d\ude00",
  ])("of five million characters of %s are few, and little longer together than it", (unit) => {
    const passages = readText(unit.repeat(5_242_880 / unit.length)).passages;
    expect(passages.length).toBeLessThan(2_700);
    expect(passages.reduce((sum, { length }) => sum + length, 0)).toBeLessThan(5_242_880 * 2.5);
  });
});

test("what is ranked has each word of the text, and none more often than counts", () => {
  fc.assert(
    fc.property(text, (whole) => {
      const ranked = wordsOf(readText(whole).ranked);
      expect(new Set(ranked.map((one) => one.toLowerCase()))).toEqual(
        new Set(wordsOf(whole).map((one) => one.toLowerCase())),
      );
    }),
    { numRuns: 50 },
  );
  expect(wordsOf(readText("One two one ".repeat(10_000)).ranked)).toHaveLength(32);
});
