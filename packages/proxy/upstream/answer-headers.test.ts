import { expect, test } from "vitest";
import { addHeader } from "./answer-headers.ts";

function read(...lines: string[]): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = {};
  for (const line of lines) addHeader(headers, line, 0, line.indexOf(":"), line.length);
  return headers;
}

test("names are in lower case, values without blanks around them, and those of a name are kept in their order", () => {
  const lines = ["Set-Cookie: a", "X-B:\t b c \t", "set-cookie:b", "SET-COOKIE: c", "x-empty:", "x-nbsp: \xa0"];
  expect(read(...lines)).toEqual({ "set-cookie": ["a", "b", "c"], "x-b": "b c", "x-empty": "", "x-nbsp": "\xa0" });
});

test("names that objects have already are headers like others, and reach no prototype", () => {
  const headers = read("__proto__: z", "__proto__: a", "constructor: b", "constructor: c", "toString: d");
  expect(Object.entries(headers)).toEqual([
    ["__proto__", ["z", "a"]],
    ["constructor", ["b", "c"]],
    ["tostring", "d"],
  ]);
  expect(Object.getPrototypeOf(headers)).toBe(Object.prototype);
});

test.each(["a b: c", "ä: c", "a\0: c", "a(: c"])("%j has no name", (line) => {
  expect(() => read(line)).toThrow("whose name is none");
});

test.each(["a: b\0", "a: b\x1fc", "a: \x7f", "a: b\u000bc"])("%j has a control character", (line) => {
  expect(() => read(line)).toThrow("control character");
});
