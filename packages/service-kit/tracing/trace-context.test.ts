import { expect, test } from "vitest";
import { continueTrace } from "./trace-context.ts";

const trace = "0af7651916cd43dd8448eb211c80319c";

test("a trace goes on with the gateway as its parent", () => {
  const given = `00-${trace}-b7ad6b7169203331-01`;
  expect(continueTrace({ traceparent: given })?.traceparent).toMatch(new RegExp(`^00-${trace}-[0-9a-f]{16}-01$`));
  expect(continueTrace({ traceparent: given })?.traceparent).not.toBe(given);
  expect(continueTrace({ traceparent: `cc-${trace}-b7ad6b7169203331-00-of-a-later-version` })?.traceparent).toMatch(
    /^00-.*-00$/,
  );
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
  expect(continueTrace({ ...(given !== undefined && { traceparent: given }), tracestate: "a=1" })).toBeUndefined();
});

test("what other tracing systems say of the trace goes on as it came", () => {
  const traceparent = `00-${trace}-b7ad6b7169203331-01`;
  expect(continueTrace({ traceparent, tracestate: "congo=t61rcWkgMzE,rojo=00f067aa" })?.tracestate).toBe(
    "congo=t61rcWkgMzE,rojo=00f067aa",
  );
  expect(continueTrace({ traceparent, tracestate: "" })).not.toHaveProperty("tracestate");
  expect(continueTrace({ traceparent, tracestate: "a=\u00e9" })).not.toHaveProperty("tracestate");
});
