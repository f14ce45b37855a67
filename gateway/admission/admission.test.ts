import { buildSchema } from "graphql";
import { describe, expect, test } from "vitest";
import { admissionOf } from "./admission.fixture.ts";
import { bytesOfDocument } from "@toolyard/service-kit/graph/document-cache.ts";
import { defaultOperationLimits } from "./operation-limits.ts";

const schema = buildSchema(
  "scalar JSON input Filter { and: [Filter!] n: Int } type Query { a: Query b(json: JSON, filter: Filter): String }",
);
const costs = { fields: new Map(), inputFields: new Map(), types: new Map() };
const admission = () => admissionOf({ schema, costs, limits: defaultOperationLimits, introspection: true });

/** The errors that a text is refused with. */
function refusal(text: string) {
  const admitted = admission().admit(text, null);
  if ("hash" in admitted) throw new Error("It was admitted.");
  return admitted;
}

describe("a text that nests more than can be walked is refused as too deep", () => {
  const nested = (open: string, inner: string, close: string, times: number) =>
    open.repeat(times) + inner + close.repeat(times);
  test.each([
    ["fields", nested("{ a ", "{ b }", "}", 4_500)],
    ["inline fragments", nested("{ ... ", "{ b }", "}", 4_500)],
    ["lists", `{ b(json: ${nested("[", "", "]", 7_000)}) }`],
    ["objects", `{ b(filter: ${nested("{and:[", "{n:1}", "]}", 2_000)}) }`],
    ["types of variables", `query ($v: ${nested("[", "Int", "]", 7_000)}) { b(json: $v) }`],
    ["fields of a fragment that nothing uses", `{ b } fragment F on Query ${nested("{ a ", "{ b }", "}", 4_500)}`],
  ])("%s", (_what, text) => {
    expect(refusal(text)).toMatchObject([{ extensions: { code: "OPERATION_LIMIT_EXCEEDED", limit: "depth" } }]);
  });
});

test("texts are kept for as long as their documents together take no more than they may, the latest used first", () => {
  const textOf = (index: number) => `{ a${index}: b }`;
  const maxCachedBytes = 20 * bytesOfDocument(textOf(10).length);
  const { admit, knows } = admissionOf({
    schema,
    costs,
    limits: defaultOperationLimits,
    introspection: true,
    maxCachedBytes,
  });
  const texts = Array.from({ length: 40 }, (_, index) => textOf(10 + index));
  for (const text of texts) admit(text, null);
  expect(texts.map(knows)).toEqual(texts.map((_, index) => index >= 20));
  // Of one that would push out most others nothing is kept.
  const long = `{ b } # ${"x".repeat(2_000)}`;
  expect("hash" in admit(long, null)).toBe(true);
  expect(knows(long)).toBe(false);
});

test("fragments that nothing uses are measured, too: validation would compare their fields", () => {
  const text = `{ b } fragment F on Query { ${"a { a { b } } ".repeat(1_800)} }`;
  expect(refusal(text)).toMatchObject([{ extensions: { code: "OPERATION_LIMIT_EXCEEDED", limit: "repeatedFields" } }]);
  // Small ones are refused for what they are.
  expect(refusal("{ b } fragment F on Query { a { b } }")).toMatchObject([
    { message: 'Fragment "F" is never used.', extensions: { code: "GRAPHQL_VALIDATION_FAILED" } },
  ]);
});

test("what a long name makes of an error's message is cut", () => {
  const name = "x".repeat(100_000);
  const variables = Array.from({ length: 40 }, (_, i) => `$v${i}: Int`).join(" ");
  const [first, ...others] = refusal(`query ${name} (${variables}) { b }`);
  expect(others.length).toBeGreaterThan(30);
  expect(first?.message).toMatch(/^Variable "\$v0" is never used in operation "xxx/);
  for (const { message } of [...others, ...refusal(`{ ${name} }`)]) expect(message.length).toBeLessThan(1_100);
  const unknown = admission().admit("{ b }", name);
  expect("hash" in unknown ? "" : unknown[0]?.message).toMatch(/^Unknown operation named "xxx.{0,1000}$/);
});

test("@defer is refused with what to do, unless it is turned off", () => {
  for (const condition of ["", "(if: true)", "(if: $d)"])
    expect(
      refusal(
        `query Q($d: Boolean = false) { ... @defer${condition} { b } ${condition.includes("$") ? "" : "... @skip(if: $d) { b }"} }`,
      ),
    ).toMatchObject([
      {
        message: 'The directive "@defer" is not supported here: every result comes in one piece. Leave it out.',
        extensions: { code: "GRAPHQL_VALIDATION_FAILED" },
      },
    ]);
  expect(admission().admit("{ ... @defer(if: false) { b } }", null)).toHaveProperty("hash");
  expect(refusal("{ ... @postpone { b } }")).toMatchObject([{ message: 'Unknown directive "@postpone".' }]);
});
