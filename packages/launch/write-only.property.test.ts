import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createWriteOnly } from "./write-only.ts";

const secret = { type: "string", writeOnly: true };
const object = (apiKey: unknown, more: object = {}) => ({ type: "object", properties: { apiKey }, ...more });

describe("a writeOnly value is hidden", () => {
  test.each<[string, object, unknown]>([
    ["in properties", object(secret), { apiKey: "s3cret" }],
    ["behind $ref", object({ $ref: "#/$defs/key" }, { $defs: { key: secret } }), { apiKey: "s3cret" }],
    [
      "behind a $ref beside the root's $id",
      { $id: "https://a.example/s", ...object({ $ref: "https://a.example/s#/$defs/key" }, { $defs: { key: secret } }) },
      { apiKey: "s3cret" },
    ],
    [
      "behind $refs in a row",
      object({ $ref: "#/$defs/a" }, { $defs: { a: { $ref: "#/$defs/b~1c%20d" }, "b/c d": secret } }),
      { apiKey: "s3cret" },
    ],
    [
      "behind an $anchor",
      object({ $ref: "#key" }, { $defs: { x: { $anchor: "key", ...secret } } }),
      { apiKey: "s3cret" },
    ],
    [
      "behind a $dynamicRef",
      object(
        { $dynamicRef: "#key" },
        { $defs: { x: { $dynamicAnchor: "key" }, y: { $dynamicAnchor: "key", ...secret } } },
      ),
      { apiKey: "s3cret" },
    ],
    ["behind a $ref to what is not there", object({ $ref: "#/$defs/none" }), { apiKey: "s3cret" }],
    ["behind a $ref to elsewhere", object({ $ref: "https://elsewhere.example/s" }), { apiKey: "s3cret" }],
    [
      "behind a $ref below another $id",
      object({ $id: "https://b.example/", $ref: "#/$defs/key", $defs: { key: secret } }, { $defs: { key: {} } }),
      { apiKey: "s3cret" },
    ],
    ["in prefixItems", { properties: { list: { prefixItems: [{}, secret] } } }, { list: ["a", "s3cret"] }],
    ["in items", { properties: { list: { items: secret } } }, { list: ["s3cret"] }],
    [
      "in items after prefixItems",
      { properties: { list: { prefixItems: [{}], items: secret } } },
      { list: ["a", "s3cret"] },
    ],
    ["in unevaluatedItems", { properties: { list: { unevaluatedItems: secret } } }, { list: ["s3cret"] }],
    ["in contains", { properties: { list: { contains: secret } } }, { list: ["s3cret"] }],
    ["in patternProperties", { patternProperties: { "^api": secret } }, { apiKey: "s3cret" }],
    [
      "in patternProperties beside properties",
      object({}, { patternProperties: { "^api": secret } }),
      { apiKey: "s3cret" },
    ],
    ["in additionalProperties", { additionalProperties: secret }, { apiKey: "s3cret" }],
    ["in unevaluatedProperties", { unevaluatedProperties: secret }, { apiKey: "s3cret" }],
    ["in propertyNames", { propertyNames: { writeOnly: true } }, { apiKey: "s3cret" }],
    ["in dependentSchemas", { dependentSchemas: { a: object(secret) } }, { a: 1, apiKey: "s3cret" }],
    ["in allOf", { allOf: [object({}), object(secret)] }, { apiKey: "s3cret" }],
    ["in anyOf", { anyOf: [object(secret), object({})] }, { apiKey: "s3cret" }],
    ["in oneOf", object({ oneOf: [{ type: "number" }, secret] }), { apiKey: "s3cret" }],
    ["in if", { if: object(secret) }, { apiKey: "s3cret" }],
    ["in then", { if: true, then: object(secret) }, { apiKey: "s3cret" }],
    ["in else", { if: false, else: object(secret) }, { apiKey: "s3cret" }],
    ["in not", { not: object(secret) }, { apiKey: "s3cret" }],
    [
      "in contentSchema",
      object({ contentMediaType: "application/json", contentSchema: secret }),
      { apiKey: '"s3cret"' },
    ],
    ["under a keyword that nobody knows", object({}, { "x-vault": object(secret) }), { apiKey: "s3cret" }],
    ["under a keyword of an earlier draft", { dependencies: { a: object(secret) } }, { a: 1, apiKey: "s3cret" }],
    ["that is no plain true", object({ writeOnly: "yes" }), { apiKey: "s3cret" }],
    ["as a whole object", object({ writeOnly: true, properties: { a: {} } }), { apiKey: { a: "s3cret" } }],
    [
      "in a schema that refers to itself",
      object({ anyOf: [{ $ref: "#" }, { type: "string" }] }, { additionalProperties: secret }),
      { apiKey: { apiKey: { other: "s3cret" } } },
    ],
    ["by a schema that is none", { properties: { apiKey: "text" } }, { apiKey: "s3cret" }],
  ])("%s", (_where, schema, value) => {
    const writeOnly = createWriteOnly(schema);
    expect(JSON.stringify(writeOnly.shown(value))).not.toContain("s3cret");
    const [key = ""] = Object.keys(value as object).filter((name) => name !== "a");
    expect(writeOnly.hides(key)).toBe(true);
  });
});

describe("what is not writeOnly is shown", () => {
  test.each<[string, unknown, Record<string, unknown>]>([
    ["without a schema", null, { a: 1 }],
    ["beside what is", object(secret), { city: "Bern", limits: { days: [1, 2] } }],
    [
      "of a property, whatever others may be",
      { properties: { city: { type: "string" } }, additionalProperties: secret },
      { city: "Bern" },
    ],
    ["before the items that are", { properties: { list: { prefixItems: [{}], items: secret } } }, { list: ["a"] }],
    [
      "behind $ref and allOf",
      { allOf: [{ $ref: "#/$defs/a" }], $defs: { a: object({ type: "string" }) } },
      { apiKey: "shown" },
    ],
  ])("%s", (_what, schema, value) => {
    expect(createWriteOnly(schema).shown(value)).toEqual(value);
  });

  test("keys of a configuration that hold nothing writeOnly may be used anywhere", () => {
    const { hides } = createWriteOnly({
      properties: { city: {}, "a.b": secret, server: { properties: { host: {}, password: secret } } },
    });
    expect(["city", "server.host", "other"].map(hides)).toEqual([false, false, false]);
    expect(["a.b", "server", "server.password", "server.password.x"].map(hides)).toEqual([true, true, true, true]);
  });
});

/** Schemas of all applicators, with writeOnly strewn in. */
const { schema } = fc.letrec<{ schema: unknown }>((tie) => {
  const some = tie("schema");
  const map = fc.dictionary(fc.constantFrom("a", "b", "c"), some, { maxKeys: 2 });
  return {
    schema: fc.oneof(
      { maxDepth: 4, depthSize: "small" },
      fc.constantFrom<unknown>({}, true, { type: "string" }, { writeOnly: true }, { $ref: "#" }, { $ref: "#/$defs/d" }),
      fc.record(
        {
          properties: map,
          patternProperties: map,
          additionalProperties: some,
          prefixItems: fc.array(some, { minLength: 1, maxLength: 2 }),
          items: some,
          allOf: fc.array(some, { minLength: 1, maxLength: 2 }),
          anyOf: fc.array(some, { minLength: 1, maxLength: 2 }),
          then: some,
          dependentSchemas: map,
          unevaluatedProperties: some,
        },
        { requiredKeys: [] },
      ),
    ),
  };
});
const value = fc.letrec((tie) => ({
  node: fc.oneof(
    { maxDepth: 3 },
    fc.constant("leaf"),
    fc.dictionary(fc.constantFrom("a", "b", "c"), tie("node"), { maxKeys: 3 }),
    fc.array(tie("node"), { maxLength: 3 }),
  ),
})).node;

test("all of a value is shown, but for what is null in its place; and nothing below a schema that is writeOnly", () => {
  fc.assert(
    fc.property(schema, schema, value, (first, second, given) => {
      const root = typeof first === "object" && first !== null ? { ...first, $defs: { d: second } } : first;
      const shown = createWriteOnly(root).shown(given);
      expect(agrees(given, shown)).toBe(true);
      expect(createWriteOnly({ allOf: [root, { writeOnly: true }] }).shown(given)).toBeNull();
      // Another applicator never shows more.
      if (typeof root !== "object") return;
      for (const more of [{ not: second }, { contains: second }, { propertyNames: second }])
        expect(agrees(shown, createWriteOnly({ ...root, ...more }).shown(given))).toBe(true);
    }),
    { numRuns: 500 },
  );
});

function agrees(given: unknown, shown: unknown): boolean {
  if (shown === null) return true;
  if (typeof given !== "object" || given === null) return given === shown;
  const parts = shown as Record<string, unknown>;
  return Object.entries(given).every(([key, item]) => agrees(item, parts[key]));
}
