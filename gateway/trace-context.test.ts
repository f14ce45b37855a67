import { expect, test } from "vitest";
import { continueTrace } from "./trace-context.ts";

const trace = "0af7651916cd43dd8448eb211c80319c";

test("a trace goes on with the gateway as its parent", () => {
  const given = `00-${trace}-b7ad6b7169203331-01`;
  expect(continueTrace(given)).toMatch(new RegExp(`^00-${trace}-[0-9a-f]{16}-01$`));
  expect(continueTrace(given)).not.toBe(given);
  expect(continueTrace(`cc-${trace}-b7ad6b7169203331-00-of-a-later-version`)).toMatch(/^00-.*-00$/);
});

test.each([
  undefined,
  "",
  "nonsense",
  `ff-${trace}-b7ad6b7169203331-01`,
  `00-${"0".repeat(32)}-b7ad6b7169203331-01`,
  `00-${trace}-${"0".repeat(16)}-01`,
  `00-${trace.toUpperCase()}-b7ad6b7169203331-01`,
  `00-${trace}-b7ad6b7169203331-01x`,
])("%s is no trace", (given) => {
  expect(continueTrace(given)).toBeUndefined();
});
