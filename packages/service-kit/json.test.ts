import { expect, test } from "vitest";
import { stackOf, toError } from "./errors/errors.ts";
import { isObject, parseJson } from "./json.ts";

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

test("whatever is thrown becomes an error that keeps it", () => {
  const error = new TypeError("x");
  expect(toError(error)).toBe(error);
  expect(toError("broken")).toMatchObject({ message: "broken", cause: "broken" });
  expect(toError(Object.create(null))).toMatchObject({ message: "[object Object]" });
  expect(stackOf(error)).toBe(error.stack);
  expect(stackOf("broken")).toBe("broken");
});
