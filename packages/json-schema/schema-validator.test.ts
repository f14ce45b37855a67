import { createLogger, ToolyardError, type Problem } from "@toolyard/service-kit";
import { afterAll, describe, expect, test } from "vitest";
import { createSchemaValidator } from "./schema-validator.ts";

const logger = createLogger({ level: "silent", name: "test" });
const schemas = createSchemaValidator({ logger, deadlineMs: 60_000 });
afterAll(() => schemas.close());

async function problemsOf(work: Promise<unknown>): Promise<Problem[]> {
  try {
    await work;
    return [];
  } catch (error) {
    if (!(error instanceof ToolyardError) || error.code !== "BAD_USER_INPUT") throw error;
    return error.extensions["problems"] as Problem[]; // as badInput makes them
  }
}

const refusalOf = async (schema: unknown): Promise<string> => {
  const [problem] = await problemsOf(schemas.checkSchema(schema, "s", "user"));
  return problem ? `${problem.path} ${problem.message}` : "";
};

const deep = (levels: number): object => (levels === 0 ? {} : { not: deep(levels - 1) });
const fan = Object.fromEntries(
  Array.from({ length: 30 }, (_, index) => [
    `a${index}`,
    index === 29 ? {} : { allOf: [{ $ref: `#/$defs/a${index + 1}` }, { $ref: `#/$defs/a${index + 1}` }] },
  ]),
);

describe("a schema", () => {
  test("is taken when it is JSON Schema 2020-12 that stands by itself", async () => {
    const schema = {
      $schema: "https://json-schema.org/draft/2020-12/schema",
      $id: "https://example.com/config",
      type: "object",
      properties: {
        url: { type: "string", format: "uri" },
        token: { type: "string", writeOnly: true, pattern: String.raw`^sk-[\w-]{8,}$` },
        list: { $ref: "#/$defs/list" },
        tree: { $ref: "https://example.com/config#tree" },
        definitions: true,
      },
      patternProperties: { "^x-": {} },
      required: ["url"],
      $defs: {
        list: { type: "array", prefixItems: [{ type: "string" }], unevaluatedItems: false },
        tree: { $anchor: "tree", type: "object", properties: { children: { items: { $ref: "#tree" } } } },
        "a/b~c": { if: { const: 1 }, then: { $ref: "#/$defs/a~1b~0c/else" }, else: { enum: [1, 2] } },
      },
      "x-order": ["url"],
    };
    expect(await schemas.checkSchema(schema, "s", "user")).toEqual(schema);
    // Again, with the same $id: nothing of the first is left.
    expect(await refusalOf({ ...schema, type: ["object", "null"] })).toBe("");
  });

  test.each<[string, unknown, string]>([
    ["a string", "object", "s must be a JSON Schema"],
    ["an array", [], "s must be a JSON Schema"],
    ["a boolean", true, "s must be a JSON Schema"],
    ["an unknown type", { type: "objekt" }, "s is not a JSON Schema"],
    ["properties that are no object", { properties: [] }, "s is not a JSON Schema"],
    ["asynchronous", { $async: true }, "s.$async is not a keyword"],
    ["asynchronous within", { properties: { a: { $async: true } } }, "s.properties.a.$async is not a keyword"],
    ["of a keyword nobody knows", { items: [{}], additionalItems: false }, "s.additionalItems is not a keyword"],
    ["of another draft's recursion", { $recursiveRef: "#" }, "s.$recursiveRef is not a keyword"],
    [
      "of dynamic references",
      { $dynamicRef: "#x", $defs: { x: { $dynamicAnchor: "x" } } },
      "s.$dynamicRef is not a keyword",
    ],
    ["of ajv's own keywords", { type: "string", nullable: true }, "s.nullable is not a keyword"],
    ["of an object's inherited names", { constructor: {} }, "s.constructor is not a keyword"],
    ["another draft", { $schema: "http://json-schema.org/draft-07/schema#" }, "s.$schema must be"],
    ["another draft within", { not: { $schema: "http://json-schema.org/draft-07/schema#" } }, "s.not.$schema must be"],
    ["another resource within", { $defs: { a: { $id: "https://example.com/a" } } }, "s.$defs.a.$id must be"],
    ["a format that is not checked", { format: "iban" }, "s.format is not a supported format"],
    ["a format by an inherited name", { format: "toString" }, "s.format is not a supported format"],
    ["a reference to elsewhere", { $ref: "https://example.com/other.json" }, "s.$ref must lead to"],
    ["a reference to the dialect", { $ref: "https://json-schema.org/draft/2020-12/schema" }, "s.$ref must lead to"],
    ["a reference to a file", { $ref: "file:///etc/passwd" }, "s.$ref must lead to"],
    ["a reference to nothing", { $ref: "#/$defs/none" }, "can't resolve reference"],
    ["a reference into a value", { $ref: "#/default", default: { $async: true } }, "can't resolve reference"],
    ["a reference into a note", { $ref: "#/x-a/b", "x-a": { b: { $async: true } } }, "can't resolve reference"],
    ["a reference to itself", { $ref: "#" }, "s leads back to itself"],
    [
      "a circle of references",
      { $defs: { a: { anyOf: [{ $ref: "#/$defs/b" }] }, b: { not: { $ref: "#/$defs/a" } } } },
      "s.$defs.a leads back to itself",
    ],
    ["of checks that double", { $defs: fan, $ref: "#/$defs/a0" }, "takes too many checks"],
    [
      "of too many schemas",
      { properties: Object.fromEntries(Array.from({ length: 1_001 }, (_, n) => [n, {}])) },
      "too many",
    ],
    ["of too many values", { enum: Array.from({ length: 501 }, (_, n) => n) }, "s.enum has too many values"],
    ["a pattern that does not parse", { pattern: "(" }, "s.pattern is not a regular expression"],
    [
      "a pattern that looks ahead",
      { pattern: "^(?=a)" },
      "s.pattern is not a pattern that can be matched in linear time",
    ],
    [
      "a pattern that looks back",
      { patternProperties: { "(a)\\1": {} } },
      "s.patternProperties.(a)\\1 is not a pattern",
    ],
    ["a pattern that explodes", { pattern: "((a{100}){100}){100}" }, "s.pattern is not a pattern"],
    ["a long pattern", { pattern: "a".repeat(1_001) }, "s.pattern is too long"],
    ["too many levels", deep(40), "nested too deeply"],
    ["too many levels for a stack", JSON.parse('{"a":'.repeat(50_000) + "1" + "}".repeat(50_000)), "nested too deeply"],
    ["too much text", { description: "a".repeat(70_000) }, "is too large"],
    ["NUL", { default: "a\0" }, "without NUL"],
    ["half a character in a key", { properties: { "\udc00": {} } }, "well-formed"],
  ])("is refused when it is %s", async (_what, schema, reason) => {
    expect(await refusalOf(schema)).toContain(reason);
  });
});

describe("a value", () => {
  const check = (schema: unknown, value: unknown) => schemas.checkValue(schema, value, "v", "user");

  test("is checked by patterns and formats in linear time", async () => {
    const schema = {
      properties: {
        evil: { pattern: "^(a+)+$" },
        ...Object.fromEntries(
          ["email", "uri", "url", "hostname", "uri-template"].map((format) => [format, { format }]),
        ),
      },
    };
    const long = `${"a".repeat(200_000)}!`;
    expect(await problemsOf(check(schema, { evil: long }))).toMatchObject([{ path: "v.evil" }]);
    for (const format of ["email", "url", "hostname"]) {
      const dotted = `${"a.".repeat(100_000)}!`;
      expect(await problemsOf(check(schema, { [format]: dotted })), format).toMatchObject([{ path: `v.${format}` }]);
    }
    const right = { evil: "aaa", email: "a@example.com", uri: "https://example.com/a?b#c", hostname: "a.example" };
    expect(await check(schema, right)).toEqual(right);
  });

  test("that takes too long to check is given up, while others' are checked and nothing waits", async () => {
    const hasty = createSchemaValidator({ logger, deadlineMs: 1_500 });
    try {
      const list = Array.from({ length: 40_000 }, (_, n) => ({ n }));
      // Each pair of thousands of objects is compared.
      const slow = hasty.checkValue({ properties: { a: { uniqueItems: true } } }, { a: list }, "v", "slow");
      const given = expect(slow).rejects.toMatchObject({ code: "TIMEOUT" });
      expect(await hasty.checkValue({ type: "object" }, { quick: 1 }, "v", "quick")).toEqual({ quick: 1 });
      await given;
    } finally {
      await hasty.close();
    }
  });

  test("of a schema stored before schemas were held to rules is refused, not evaluated", async () => {
    const problems = await problemsOf(check({ $async: true, properties: { a: { type: "string" } } }, { a: 1 }));
    expect(problems).toMatchObject([{ path: "configSchema.$async" }]);
    expect(await problemsOf(check({ pattern: "(?=a)" }, {}))).toMatchObject([{ path: "configSchema.pattern" }]);
  });

  test("is bounded, and so is what is told of it", async () => {
    expect(await problemsOf(check({}, { a: "a".repeat(300_000) }))).toMatchObject([{ path: "v" }]);
    expect(await problemsOf(check(null, JSON.parse('{"a":'.repeat(50_000) + "1" + "}".repeat(50_000))))).toMatchObject([
      { path: "v", message: "is nested too deeply: at most 64 levels" },
    ]);
    const names = Object.fromEntries(Array.from({ length: 1_000 }, (_, n) => [`a${n}`, n]));
    expect(await problemsOf(check({ additionalProperties: false }, names))).toHaveLength(50);
  });

  test("gets defaults, and none of them reaches an object's prototype", async () => {
    const schema = JSON.parse(
      '{"properties": {"__proto__": {"default": {"polluted": 1}}, "b": {"default": 2}}}',
    ) as unknown;
    const value = await check(schema, { a: 1 });
    expect(value).toMatchObject({ a: 1, b: 2 });
    expect("polluted" in value).toBe(false);
  });

  test("is bounded with its defaults filled in, too", async () => {
    const many = { a: Array.from({ length: 2_000 }, () => ({})) };
    const long = { properties: { a: { items: { properties: { b: { default: "b".repeat(30_000) } } } } } };
    expect(await problemsOf(check(long, many))).toMatchObject([
      { path: "v", message: "is too large: at most 262144 characters as JSON, with the schema's defaults filled in" },
    ]);
    const endless = { properties: { a: { $ref: "#", default: {} } } };
    expect(await problemsOf(check(endless, {}))).toMatchObject([
      { path: "v", message: "has no end with the schema's defaults filled in" },
    ]);
    // So many names, each told as often as it is wrong, would take gigabytes.
    const named = { items: { enum: Array.from({ length: 400 }, (_, n) => `${"x".repeat(140)}${n}`) } };
    const wrong = { a: Array.from({ length: 50_000 }, () => 0) };
    expect(await problemsOf(check({ properties: { a: named } }, wrong))).toHaveLength(50);
  });
});
