import fc from "fast-check";
import { expect, test } from "vitest";

import { findValues, lastText, printFrom, replaceValues } from "./json-splice.ts";

/** JSON as others print it: with white space, escaped keys, keys that stand twice. */
const whitespace = fc.constantFrom("", " ", "\n\t");
/**
 * No key begins with a backslash: once it has read `{"a":1,"\\":2}`, V8 of Node 24 reads the key of `{"a":1,"\u0062":2}` as a
 * backslash, since it compares the raw text with the key that came last behind the same ones.
 */
const key = fc.oneof(fc.constantFrom("a", "b", "id", "params"), fc.string()).filter((name) => !name.startsWith("\\"));
const { value: anyJson } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.string(),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie("value")),
    fc.dictionary(key, tie("value")),
  ),
}));
function print(value: unknown, gap: string, escape: boolean): string {
  if (Array.isArray(value)) return `[${value.map((item) => gap + print(item, gap, escape) + gap).join(",")}]`;
  if (typeof value === "object" && value !== null) {
    return `{${Object.entries(value)
      .map(([name, item]) => {
        const plain = JSON.stringify(name);
        const printed = escape
          ? plain.replace(/[a-z]/, (letter) => `\\u00${letter.charCodeAt(0).toString(16)}`)
          : plain;
        // Only a letter that stands by itself: `\n` is an escape already.
        const shown = escape && !plain.includes("\\") ? printed : plain;
        return `${gap}${shown}${gap}:${gap}${print(item, gap, escape)}${gap}`;
      })
      .join(",")}}`;
  }
  return JSON.stringify(value);
}
const json = fc.dictionary(key, anyJson);

test("a value is found where it stands, and only it is replaced", () => {
  fc.assert(
    fc.property(
      json,
      json,
      anyJson,
      fc.string(),
      whitespace,
      fc.boolean(),
      (outer, inner, before, secret, gap, escape) => {
        const value = { ...outer, params: { ...inner, id: before } };
        const text = print(value, gap, escape);
        const spans = findValues(text, ["params", "id"]);
        expect(spans.map(({ start, end }) => JSON.parse(text.slice(start, end)))).toEqual([
          JSON.parse(JSON.stringify(before)),
        ]);
        const replaced = replaceValues(text, [{ spans, text: JSON.stringify(secret) }]);
        expect(JSON.parse(replaced)).toEqual(
          JSON.parse(JSON.stringify({ ...outer, params: { ...inner, id: secret } })),
        );
      },
    ),
  );
});

test("a key that stands twice is found twice", () => {
  expect(findValues('{"a":{"b":1},"a":{"b" : "}\\"","b":[{}]}}', ["a", "b"]).length).toBe(3);
});

test("a value that was made from another one is printed with what it took over as that was written", () => {
  const shape = fc.record({ kept: json, changed: json, dropped: json, items: fc.array(json) });
  fc.assert(
    fc.property(shape, anyJson, whitespace, fc.boolean(), ({ dropped, ...before }, added, gap, escape) => {
      const text = print({ ...before, dropped, number: 0 }, gap, escape).replace(/0(?=[^0]*$)/, "1.0");
      const parsed = JSON.parse(text) as typeof before & { number: number };
      const made = {
        number: parsed.number,
        kept: parsed.kept,
        changed: { ...parsed.changed, added },
        items: parsed.items.slice(1),
      };
      const printed = printFrom(made, parsed, text);
      expect(JSON.parse(printed)).toEqual(JSON.parse(JSON.stringify(made)));
      expect(lastText(printed, ["number"])).toBe("1.0");
    }),
  );
});

test("a key that is written with escapes is known", () => {
  const text = '{"\\u0061":1.0,"b":2}';
  expect(printFrom({ a: 1, c: 3 }, JSON.parse(text), text)).toBe('{"\\u0061":1.0,"c":3}');
});

test("of a key that stands twice the last one is printed", () => {
  const text = '{"a":1,"b":{"c":2},"a":{"d":1.0}}';
  const parsed = JSON.parse(text) as Record<string, unknown>;
  expect(JSON.parse(printFrom({ ...parsed, e: 3 }, parsed, text))).toEqual({ a: { d: 1 }, b: { c: 2 }, e: 3 });
});

test("what is no JSON is looked at once, and nothing of it is made up", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom("{", "}", "[", "]", '"', "\\", ":", ",", "a", " ", "1") }),
      (text) => {
        for (const { start, end } of findValues(text, ["a"])) expect(end).toBeGreaterThan(start);
      },
    ),
    { numRuns: 2_000 },
  );
});
