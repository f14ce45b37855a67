import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { wordsOf } from "./passages.ts";
import { CLOSE, OPEN, snippetOf } from "./snippet.ts";

const gap = fc.constantFrom(" ", ", ", ".\n", " – ", " ⟦ ");
/** A passage as FTS5 marks it: matches of one or more words, which neither nest nor touch. */
const passage = fc
  .array(
    fc.record({
      words: fc.array(fc.tuple(fc.stringMatching(/^[a-z]{1,5}$/), gap), { minLength: 1 }),
      match: fc.boolean(),
    }),
    {
      maxLength: 30,
    },
  )
  .map((runs) =>
    runs
      .map(({ words, match }) => {
        const text = words.map(([word, after], index) => (index === words.length - 1 ? word : word + after)).join("");
        return `${match ? OPEN + text + CLOSE : text} `;
      })
      .join(""),
  );

describe("a snippet", () => {
  test("is a bounded part of the passage, its marks in pairs, and shows a match wherever there is one", () => {
    fc.assert(
      fc.property(passage, (marked) => {
        const snippet = snippetOf(marked);
        expect(snippet).toMatch(/^(?:[^⟦⟧]|⟦[^⟦⟧]+⟧)*$/);
        expect(snippet.includes("⟦")).toBe(marked.includes(OPEN));
        const words = wordsOf(snippet);
        expect(words.length).toBe(Math.min(32, wordsOf(marked).length));
        expect(` ${wordsOf(marked).join(" ")} `).toContain(` ${words.join(" ")}${words.length > 0 ? " " : ""}`);
      }),
      { numRuns: 500 },
    );
  });

  test("is where the most matches are, and those stand in the middle", () => {
    const filler = "filler ".repeat(60);
    const one = `${OPEN}one${CLOSE} `;
    expect(snippetOf(`${filler}${one}${filler}${one}and ${OPEN}two words${CLOSE}. ${filler}`)).toMatch(
      /^…(?:filler ){13,15}⟦one⟧ and ⟦two words⟧\. (?:filler ?){12,15}…$/,
    );
  });
});
