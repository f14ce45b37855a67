import fc from "fast-check";
import { expect, test } from "vitest";
import { parseJson } from "./json-parse.ts";

/** A key with one of its letters spelled as an escape. */
const escaped = (key: string, at: number): string => {
  const index = at % key.length;
  const code = key.charCodeAt(index).toString(16).padStart(4, "0");
  return `"${key.slice(0, index)}\\u${code}${key.slice(index + 1)}"`;
};
const keys = fc.uniqueArray(fc.constantFrom("a", "id", "method", "params", "_meta", "name", "x/y"), { minLength: 1 });

test("keys are those that are written, whatever V8 read before", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(keys, fc.nat(), fc.nat()), { minLength: 1, maxLength: 20 }), (all) => {
      for (const [names, which, at] of all) {
        const odd = which % names.length;
        const before = names.slice(0, odd).map((key) => `"${key}":1`);
        // What V8 takes for the beginning of the next one.
        JSON.parse(`{${[...before, '"\\\\":2'].join(",")}}`);
        const members = [
          ...before,
          `${escaped(names[odd] ?? "", at)}:3`,
          ...names.slice(odd + 1).map((key) => `"${key}":4`),
        ];
        const text = `{${members.join(",")}}`;
        const expected = Object.fromEntries(names.map((key, index) => [key, index < odd ? 1 : index === odd ? 3 : 4]));
        expect(parseJson(text)).toEqual(expected);
        expect(parseJson(`[{"params":${text}}]`)).toEqual([{ params: expected }]);
      }
    }),
    { numRuns: 500 },
  );
});

/** How many single characters are looked at. */
function looksOf(run: () => void): number {
  let looks = 0;
  const { charCodeAt } = String.prototype;
  String.prototype.charCodeAt = function (at) {
    looks += 1;
    return charCodeAt.call(this, at);
  };
  try {
    run();
  } finally {
    String.prototype.charCodeAt = charCodeAt;
  }
  return looks;
}

test("a text is read a few times, however deep its lists are", () => {
  const inner = `${Array<string>(5_000).fill("[]").join(",")},"\\u0041"`;
  for (const levels of [1, 250]) {
    const nested = "[".repeat(levels) + inner + "]".repeat(levels);
    for (const text of [`{"id":1,"params":{"name":"x","arguments":{"list":${nested}}}}`, nested])
      expect(looksOf(() => parseJson(text)) / text.length).toBeLessThan(10);
  }
});
