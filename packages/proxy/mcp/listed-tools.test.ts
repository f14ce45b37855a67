import { expect, test } from "vitest";
import { createListedTools } from "./listed-tools.ts";

const names = (prefix: string, count: number) => Array.from({ length: count }, (_, n) => `${prefix}-${n}`);

test("pages of a list add up, for each deployment", () => {
  const listed = createListedTools();
  listed.add("a", names("first", 1_000));
  listed.add("a", ["second"]);
  listed.add("b", ["third"]);
  expect(listed.has("a", "first-0") && listed.has("a", "first-999") && listed.has("a", "second")).toBe(true);
  expect(listed.has("a", "third") || listed.has("c", "first-0")).toBe(false);
});

test("a list that changes for ever keeps what it said last", () => {
  const listed = createListedTools();
  listed.add("a", ["stays"]);
  for (let round = 0; round < 10; round += 1) listed.add("a", ["stays", ...names(`round-${round}`, 1_000)]);
  expect(listed.has("a", "stays") && listed.has("a", "round-9-0")).toBe(true);
  expect(listed.has("a", "round-7-0")).toBe(false);
});

test("of many deployments those are kept that were listed last", () => {
  const listed = createListedTools();
  listed.add("kept", ["one"]);
  for (let round = 0; round < 120; round += 1) {
    listed.add(`deployment-${round}`, names("tool", 1_000));
    listed.add("kept", ["one"]);
  }
  expect(listed.has("kept", "one") && listed.has("deployment-119", "tool-999")).toBe(true);
  expect(listed.has("deployment-0", "tool-0")).toBe(false);
});
