import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  currentText,
  hasEscape,
  isPlaceholdersAlone,
  literal,
  mentionsPlaceholder,
  missingKeys,
  placeholderKeys,
  substitute,
  type Configuration,
} from "./placeholders.ts";

const CONFIGURATION = {
  city: "Bern",
  days: 3,
  list: [1],
  "API key": "k",
  limits: { days: 7 },
  price: "$${config.city}",
};
const KEYS = ["city", "days", "list", "API key", "limits.days", "price", "nope", "a$", "limits"];

/** Texts of what means something to the grammar, in any order. */
const text = fc
  .array(
    fc.oneof(
      fc.constantFrom("$", "$$", "{", "}", "${", "${config.", "{config.", "config.", "x", " ", "${HOME}", "\n"),
      fc.constantFrom(...KEYS).map((key) => `\${config.${key}}`),
    ),
    { maxLength: 12 },
  )
  .map((parts) => parts.join(""));

/** As a launch was read before there was an escape: whatever comes before a placeholder. */
function substitutedBefore(given: string, configuration: Configuration): string {
  return given.replaceAll(/\$\{config\.((?:(?!\$\{config\.)[^}])+)\}/g, (whole, key: string) => {
    const value = substitute(`\${config.${key}}`, configuration);
    return value === `\${config.${key}}` ? whole : value;
  });
}

describe("a launch's text", () => {
  test.each([
    ["${config.city}", "Bern"],
    ["--city=${config.city} ${config.limits.days} ${config.list}", "--city=Bern 7 [1]"],
    ["${config.API key}", "k"],
    ["$${config.city}", "${config.city}"],
    ["$$${config.city}", "$Bern"],
    ["$$$${config.city}", "$${config.city}"],
    ["${HOME} $${HOME} $$ $5", "${HOME} $${HOME} $$ $5"],
    ["${config.nope} $$${config.nope}", "${config.nope} $${config.nope}"],
    ["${config.} ${config.city", "${config.} ${config.city"],
    ["${config.price}", "$${config.city}"],
    ["${config.a${config.city}}", "${config.aBern}"],
  ])("%j reaches the server as %j", (given, expected) => {
    expect(substitute(given, CONFIGURATION)).toBe(expected);
  });

  test("of before there was an escape means what it meant", () => {
    fc.assert(
      fc.property(text, (given) => {
        expect(substitute(currentText({}, given), CONFIGURATION)).toBe(substitutedBefore(given, CONFIGURATION));
        expect(currentText({ escapes: true }, given)).toBe(given);
        if (!hasEscape(given)) expect(currentText({}, given)).toBe(given);
      }),
      { numRuns: 2_000 },
    );
  });

  test("can be any text: an escaped one is what it says", () => {
    fc.assert(
      fc.property(text, (given) => {
        expect(substitute(literal(given), CONFIGURATION)).toBe(given);
        expect(placeholderKeys(literal(given))).toEqual([]);
      }),
      { numRuns: 2_000 },
    );
  });

  test("has the keys that are replaced, and no other", () => {
    fc.assert(
      fc.property(text, (given) => {
        const keys = placeholderKeys(given);
        const every: Configuration = Object.fromEntries(keys.map((key) => [key, "V"]));
        expect(missingKeys(given, every)).toEqual([]);
        expect(missingKeys(given, null)).toEqual(keys);
        expect(mentionsPlaceholder(given)).toBe(keys.length > 0 || hasEscape(given));
        // Nothing else is read of the configuration.
        const read = new Set<string>();
        const watched = new Proxy<Configuration>(
          {},
          { getOwnPropertyDescriptor: (_, key) => void read.add(String(key)) },
        );
        substitute(given, watched);
        for (const key of keys) expect(read).toContain(key);
        expect([...read].every((key) => keys.some((each) => each === key || each.startsWith(`${key}.`)))).toBe(true);
      }),
    );
  });

  test.each([
    ["${config.city}${config.days}", true],
    ["", false],
    ["$${config.city}", false],
    ["$$${config.city}", false],
    ["${config.city} ", false],
  ])("%j is made of placeholders alone: %j", (given, expected) => {
    expect(isPlaceholdersAlone(given)).toBe(expected);
  });

  test.each(["${config.", "$", "${config.a", "$${config.", "{config.a}$"])("of many %j is read in one pass", (part) => {
    const long = part.repeat(50_000);
    expect(substitute(long, CONFIGURATION)).toBe(long);
  });
});
