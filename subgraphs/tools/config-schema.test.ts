import { ToolyardError } from "@toolyard/service-kit";
import { describe, expect, test } from "vitest";
import { createConfigSchemaCheck } from "./config-schema.ts";

const check = createConfigSchemaCheck();

function refusalOf(schema: unknown): string | null {
  try {
    check(schema, "input.configSchema");
    return null;
  } catch (error) {
    if (!(error instanceof ToolyardError) || error.code !== "BAD_USER_INPUT") throw error;
    expect(error.extensions.problems).toMatchObject([{ path: "input.configSchema" }]);
    return error.message;
  }
}

const deep = (levels: number): object => (levels === 0 ? {} : { not: deep(levels - 1) });

describe("a configuration schema", () => {
  test("is taken when it is JSON Schema 2020-12 that stands by itself", () => {
    const schema = {
      $schema: "https://json-schema.org/draft/2020-12/schema",
      $id: "https://example.com/config",
      type: "object",
      properties: {
        url: { type: "string", format: "uri" },
        token: { type: "string", writeOnly: true },
        list: { $ref: "#/$defs/list" },
      },
      required: ["url"],
      $defs: { list: { type: "array", prefixItems: [{ type: "string" }], unevaluatedItems: false } },
      "x-order": ["url"],
    };
    expect(check(schema, "input.configSchema")).toEqual(schema);
    // Again, with the same $id: nothing of the first is left.
    expect(check({ ...schema, type: ["object", "null"] }, "input.configSchema")).toBeDefined();
    expect(refusalOf({ $ref: "https://json-schema.org/draft/2020-12/schema" })).toBeNull();
  });

  test.each([
    ["a string", "object", "is an object"],
    ["an array", [], "is an object"],
    ["a boolean", true, "is an object"],
    ["an unknown type", { type: "objekt" }, "is not a JSON Schema"],
    ["properties that are no object", { properties: [] }, "is not a JSON Schema"],
    ["a pattern that does not parse", { pattern: "(" }, "is not a JSON Schema"],
    ["another draft", { $schema: "http://json-schema.org/draft-07/schema#" }, "is not a JSON Schema"],
    ["a reference to elsewhere", { $ref: "https://example.com/other.json" }, "can't resolve reference"],
    ["a reference to nothing", { $ref: "#/$defs/none" }, "can't resolve reference"],
    ["too many levels", deep(40), "nested too deeply"],
    ["too much text", { description: "a".repeat(70_000) }, "is too large"],
    ["NUL", { default: "a\0" }, "without NUL"],
    ["half a character in a key", { properties: { "\udc00": {} } }, "well-formed"],
  ])("is refused when it is %s", (_what, schema, reason) => {
    expect(refusalOf(schema)).toContain(reason);
  });
});
