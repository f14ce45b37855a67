import { expect, test } from "vitest";
import { createListedNames, MAX_LISTED } from "./listed-names.ts";

test("a name is listed, not listed, or not known, as of the last list", () => {
  const listed = createListedNames();
  expect(listed.has("d", "a")).toBe(null);
  listed.note("d", { names: ["a", "b"], isWhole: true });
  expect(["a", "b", "c"].map((name) => listed.has("d", name))).toEqual([true, true, false]);
  listed.note("d", { names: ["c"], isWhole: false });
  expect(["a", "c"].map((name) => listed.has("d", name))).toEqual([null, true]);
  expect(listed.has("other", "c")).toBe(null);
});

test("of one deployment and of all so many names are kept, the latest, and what is cut is not the whole list", () => {
  const listed = createListedNames();
  const many = Array.from({ length: MAX_LISTED + 1 }, (_, n) => `tool-${n}`);
  listed.note("d", { names: many, isWhole: true });
  expect(listed.has("d", "tool-0")).toBe(true);
  expect(listed.has("d", `tool-${MAX_LISTED}`)).toBe(null);
  listed.note("long", { names: ["x".repeat(1_000)], isWhole: true });
  expect(listed.has("long", "x".repeat(255))).toBe(true);
  for (let n = 0; n < 199; n += 1) listed.note(`d-${n}`, { names: many, isWhole: true });
  expect(listed.has("d", "tool-0")).toBe(null);
  expect(listed.has("d-198", "tool-0")).toBe(true);
});
