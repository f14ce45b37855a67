import fc from "fast-check";
import { expect, test } from "vitest";
import { stackOf, toError } from "./errors/errors.ts";
import { isObject, isTooNested, MAX_NESTING, parseJson } from "./json.ts";

test("an object of JSON is neither null nor a list", () => {
  expect([{}, { a: 1 }, Object.create(null)].every(isObject)).toBe(true);
  expect([null, undefined, [], "{}", 1, () => ({})].some(isObject)).toBe(false);
});

test("a text that is not JSON has no value, whichever parser reads it", () => {
  expect(parseJson('{"a":[1]}')).toEqual({ a: [1] });
  expect(parseJson("null")).toBeNull();
  expect(["", "{", "undefined", "{'a':1}"].map((text) => parseJson(text))).toEqual([
    undefined,
    undefined,
    undefined,
    undefined,
  ]);
  expect(parseJson("12", () => "read")).toBe("read");
});

test("a text nests too deep from the first level on that is one too many, whatever its strings and lists hold", () => {
  const part = fc.oneof(
    fc.json().map((text): [string, string] => [`[${text},`, "]"]),
    fc.string().map((key): [string, string] => [`{${JSON.stringify(`${key}[{`)}:`, "}"]),
  );
  fc.assert(
    fc.property(fc.array(part, { minLength: 1, maxLength: 8 }), fc.integer({ min: 1, max: 300 }), (parts, levels) => {
      const around = Array.from({ length: levels }, (_, n) => parts[n % parts.length] ?? ["[", "]"]);
      const text = `${around.map(([open]) => open).join("")}"]["${around
        .map(([, close]) => close)
        .toReversed()
        .join("")}`;
      const depthOf = (value: unknown): number =>
        typeof value === "object" && value !== null
          ? 1 + Math.max(0, ...Object.values(value).map((each) => depthOf(each)))
          : 0;
      expect(isTooNested(text)).toBe(depthOf(JSON.parse(text)) > MAX_NESTING);
    }),
  );
});

test("whatever is thrown becomes an error that keeps it", () => {
  const error = new TypeError("x");
  expect(toError(error)).toBe(error);
  expect(toError("broken")).toMatchObject({ message: "broken", cause: "broken" });
  expect(toError(Object.create(null))).toMatchObject({ message: "[object Object]" });
  expect(stackOf(error)).toBe(error.stack);
  expect(stackOf("broken")).toBe("broken");
});
