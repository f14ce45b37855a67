import { expect, test } from "vitest";
import { z } from "zod";
import { badInput, ToolyardError } from "./errors.ts";
import { parseEnvironment } from "../process/config.ts";
import { parseInput } from "./validation.ts";

function messageFor(schema: z.ZodType, value: unknown): string {
  try {
    parseInput(schema, value, "input.x");
  } catch (error) {
    if (error instanceof ToolyardError) return error.message;
    throw error;
  }
  return "";
}

test.each<[z.ZodType, unknown, string]>([
  [z.string().min(1), "", "must not be empty"],
  [z.string().min(3), "a", "must have at least 3 characters"],
  [z.string().max(2), "abc", "must have at most 2 characters"],
  [z.array(z.string()).min(1), [], "must not be empty"],
  [z.array(z.string()).max(1), ["a", "b"], "must have at most 1 item"],
  [z.string(), undefined, "is missing"],
  [z.string(), null, "must not be null"],
  [z.string(), 5, "must be text"],
  [z.int(), 1.5, "must be a whole number"],
  [z.number(), "5", "must be a number"],
  [z.number().min(2), 1, "must be at least 2"],
  [z.number().gt(2), 2, "must be above 2"],
  [z.number().max(2), 3, "must be at most 2"],
  [z.number().multipleOf(5), 3, "must be a multiple of 5"],
  [z.boolean(), "true", "must be true or false"],
  [z.enum(["A", "B"]), "C", "must be one of A, B"],
  [z.literal("A"), "C", "must be A"],
  [z.url(), "x", "must be a URL, as in https://example.com"],
  [z.string().regex(/x/), "y", "is not in the right form"],
  [z.strictObject({}), { a: 1 }, 'has unknown keys: "a"'],
  [
    z.strictObject({ tool_id: z.string().optional(), expires_at: z.string().optional(), name: z.string() }),
    { toolId: "x", expiresAt: "y", nmae: "z", other: 1, name: "" },
    'has unknown keys: "toolId", "expiresAt", "nmae", "other" (did you mean tool_id and expires_at and name?)',
  ],
  [
    z.strictObject({ a: z.string(), bc: z.int() }),
    { a: "", bc: 1, other: 1 },
    'has unknown keys: "other" (it has a, bc)',
  ],
  [
    z.array(z.object({ name: z.string(), value: z.string() })),
    { A: "b" },
    'must be a list, as in [{"name": …, "value": …}]',
  ],
  [z.array(z.strictObject({ a: z.string() }).transform(String).nullish()), {}, 'must be a list, as in [{"a": …}]'],
  [z.array(z.string()), {}, "must be a list"],
  [z.iso.datetime(), "2027-01-01", "must be a time with its zone, as in 2027-01-31T12:00:00Z"],
  [z.object({}), [], "must be an object"],
  [z.union([z.string(), z.number()]), true, "is not in the right form"],
  [z.string().min(1, "must say something"), "", "must say something"],
])("what a schema has no words of its own for is worded: %#", (schema, value, message) => {
  expect(messageFor(schema, value)).toBe(`input.x: ${message}`);
});

test.each([
  ["items", z.object({ list: z.array(z.string()) }), { list: Array.from({ length: 100_000 }, () => 1) }],
  ["keys", z.strictObject({}), Object.fromEntries(Array.from({ length: 100_000 }, (_, n) => [`k${n}`, n]))],
  ["a long key", z.strictObject({}), { ["k".repeat(1_000_000)]: 1 }],
])("what is wrong with many %s is told in few words", (_what, schema, value) => {
  expect(messageFor(schema, value).length).toBeLessThan(5_000);
});

test("it is said how much more is wrong than is told", () => {
  const list = Array.from({ length: 60 }, () => 1);
  expect(messageFor(z.array(z.string()), list)).toMatch(
    /^input\.x\.0: must be text; .*; input\.x: has 10 further problems$/,
  );
  const keys = Object.fromEntries("abcdefghijkl".split("").map((key) => [key, 1]));
  expect(messageFor(z.strictObject({}), keys)).toMatch(/^input\.x: has unknown keys: "a", .*"j", and 2 more$/);
});

test("problems are joined with one mark between them, whatever they end with", () => {
  const problems = ["One.", "two", 'There is no tool "x". Did you mean "y"?'].map((message) => ({
    path: "p",
    message,
  }));
  expect(badInput(problems).message).toBe('p: One; p: two; p: There is no tool "x". Did you mean "y"?');
});

test("a wrong variable is worded alike, and the sentence ends once", () => {
  const parse = (schema: z.ZodType, value?: string) => () => parseEnvironment({ A: schema }, { A: value });
  expect(parse(z.string())).toThrow(/^A: is missing\.$/);
  expect(parse(z.string().min(5), "abc")).toThrow(/^A: must have at least 5 characters \(it is "abc"\)\.$/);
  expect(
    parse(
      z.string().refine(() => false, "No."),
      "abc",
    ),
  ).toThrow(/^A: No \(it is "abc"\)\.$/);
});
