import fc from "fast-check";
import { expect, test } from "vitest";
import { jsonProblem } from "./json-text.ts";

function problemOf(text: string): string | null {
  try {
    JSON.parse(text);
    return null;
  } catch (error) {
    return jsonProblem(text, error);
  }
}

test.each([
  ["", "it is empty"],
  [" \n", "it is empty"],
  ['{"a":}', 'at line 1, column 6 unexpected "}"'],
  ['{\n  "a": [1, 2,\n  ]\n}', 'at line 3, column 3 unexpected "]"'],
  ['{"a": "}[,", "b": [}', 'at line 1, column 20 unexpected "}"'],
  ['{"a": undefined}', 'at line 1, column 7 unexpected "u"'],
  ['["\\"", \'x\']', 'at line 1, column 8 unexpected "\'"'],
  ['{"a":1,}', "at line 1, column 8 expected double-quoted property name"],
  ['{"a":1\n"b":2}', "at line 2, column 1 expected ',' or '}' after property value"],
  ['{"query": "{', "at line 1, column 13 it ends too early"],
  ['{"a": [1, 2', "at line 1, column 12 it ends too early"],
  ["<html>", 'at line 1, column 1 unexpected "<"'],
])("%j: %s", (text, problem) => {
  expect(problemOf(text)).toBe(problem);
});

test("the place is where JSON, cut or spoilt there, ceases to be JSON, and no more than a character of it is shown", () => {
  const spoilt = fc
    .tuple(fc.json({ maxDepth: 4 }), fc.nat(), fc.constantFrom("", "}", "]", ",", ":", "x", "\u0001", "'", "\n\n,"))
    .map(([json, at, junk]) => json.slice(0, at % (json.length + 1)) + junk + json.slice(at % (json.length + 1)));
  fc.assert(
    fc.property(spoilt, (text) => {
      const problem = problemOf(text);
      if (problem === null || problem === "it is empty") return;
      const [, line = "", column = ""] = /^at line (\d+), column (\d+) \S/.exec(problem) ?? [];
      const before = text.split("\n").slice(0, Number(line) - 1);
      const at = before.join("\n").length + (before.length > 0 ? 1 : 0) + Number(column) - 1;
      // What stands before the place could go on as JSON: it is refused, if at all, at its end.
      const again = problemOf(text.slice(0, at));
      if (again !== null && again !== "it is empty") expect(again).toContain("it ends too early");
    }),
    { numRuns: 2_000 },
  );
});
