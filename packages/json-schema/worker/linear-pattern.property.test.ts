import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { PatternError, createLinearPattern } from "./linear-pattern.ts";

const character = fc.constantFrom(..."ab1_- \n\t.[]^$/é漢😀\u00a0\u2028\ufeff\u000b-&:".split(/(?:)/u));
const escape = fc.constantFrom(
  ...String.raw`\d \D \w \W \s \S \. \/ \\ \[ \] \^ \$ \( \) \n \t \v \f \r \0 \x61 \u0062 \u{1f600} \ud83d\ude00 \cJ \p{L} \P{Lu} \p{Script=Greek} \-`.split(
    " ",
  ),
);
const classEscape = escape.filter((one) => one !== String.raw`\P{Lu}`);
const inClass = fc
  .array(
    fc.oneof(classEscape, fc.constantFrom("a", "b", "[", "(", "(?<", ".", "$", "|", "a-f", "0-9", ":", "é", "😀", "{")),
    { maxLength: 4 },
  )
  .chain((parts) => fc.constantFrom(`[${parts.join("")}]`, `[^${parts.join("")}]`));
const atom = fc.oneof(
  fc.constantFrom("a", "b", "1", " ", "é", "😀", ".", "漢", "-", "&", ":"),
  escape.filter((one) => one !== String.raw`\-`),
  inClass,
);
const { pattern } = fc.letrec<{ pattern: string; part: string }>((tie) => ({
  part: fc.oneof(
    { maxDepth: 3 },
    atom,
    fc.tuple(atom, fc.constantFrom("*", "+", "?", "{2}", "{1,3}", "*?", "{0,}")).map((parts) => parts.join("")),
    fc
      .tuple(fc.constantFrom("(", "(?:", "(?<name>"), tie("pattern"), fc.constantFrom(")", ")*", ")?"))
      .map((parts) => parts.join("")),
    fc.constantFrom(String.raw`\b`, "^", "$"),
  ),
  pattern: fc
    .array(
      fc.array(tie("part"), { maxLength: 3 }).map((parts) => parts.join("")),
      { minLength: 1, maxLength: 2 },
    )
    .map((alternatives) => alternatives.join("|")),
}));

describe("a pattern in linear time", () => {
  test("matches what the same regular expression matches", () => {
    let compared = 0;
    fc.assert(
      fc.property(
        pattern,
        fc.array(
          fc.array(character, { maxLength: 6 }).map((parts) => parts.join("")),
          { minLength: 5 },
        ),
        (source, texts) => {
          let native: RegExp;
          try {
            native = new RegExp(source, "u");
          } catch {
            expect(() => createLinearPattern(source)).toThrow(PatternError);
            return;
          }
          const linear = createLinearPattern(source);
          for (const text of texts) expect(linear.test(text), JSON.stringify([source, text])).toBe(native.test(text));
          compared += 1;
        },
      ),
      { numRuns: 1_000 },
    );
    expect(compared).toBeGreaterThan(500);
  });

  test.each([
    "(?=a)",
    "(?!a)",
    "(?<=a)",
    "(?<!a)",
    "(a)\\1",
    "(?<n>a)\\k<n>",
    "(?i:a)",
    "(",
    "a".repeat(1_001),
    "x{2000}",
  ])("is not made of %s", (source) => {
    expect(() => createLinearPattern(source)).toThrow(PatternError);
  });

  test.each(["^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "(.*a){20}$", "^(\\w+\\s?)*$", "(x+x+)+y", "^([a-z]+)*\\d"])(
    "of %s answers for a hundred thousand characters",
    (source) => {
      const { test: matches } = createLinearPattern(source);
      for (const unit of ["a", "x", "a "]) matches(`${unit.repeat(100_000 / unit.length)}!`);
    },
  );
});
