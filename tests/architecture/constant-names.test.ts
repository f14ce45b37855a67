import { expect, test } from "vitest";
import { findMisnamedConstants, misnamedIn } from "../../scripts/constant-names.ts";

test("constants of modules are named by the convention", () => {
  expect(findMisnamedConstants(`${import.meta.dirname}/../..`)).toEqual([]);
});

test.each([
  ["maxBytes", "export const maxBytes = 64 * 1024;"],
  ["header", 'const header: string = "x-header";'],
  ["pattern", "const pattern = /^a+$/;"],
  ["methods", 'const methods: readonly string[] = [\n  "get",\n];'],
  ["methods", 'const methods = new Set<string>(["get"]);'],
])("the constant %s of a module is refused in camelCase", (name, source) => {
  expect(misnamedIn("a/b.ts", source)).toEqual([`a/b.ts: the constant ${name} is to be in UPPER_SNAKE`]);
});

test("functions, schemas and state are in camelCase, and so is all within functions", () => {
  const source =
    'const parse = () => 1;\nconst open = new Set<string>();\nconst shape = { a: 1 };\n  const text = "a";';
  expect(misnamedIn("a/b.ts", source)).toEqual([]);
});
