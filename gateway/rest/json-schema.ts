/** JSON Schema (2020-12), as OpenAPI 3.1 has it. */
export interface JsonSchema {
  [keyword: string]: unknown;
}

/** The same, or null. */
export function nullable(schema: JsonSchema): JsonSchema {
  return typeof schema["type"] === "string" && schema["enum"] === undefined
    ? { ...schema, type: [schema["type"], "null"] }
    : { anyOf: [schema, { type: "null" }] };
}

/** A page of a list. @param items The schema of an array */
export function pageSchema(items: JsonSchema): JsonSchema {
  const integer = { type: "integer" };
  return {
    type: "object",
    properties: {
      items,
      total: { ...integer, description: "How many there are on all pages." },
      limit: integer,
      offset: integer,
    },
    required: ["items", "total", "limit", "offset"],
    additionalProperties: false,
  };
}

/** The format by which a scalar of the graph is written in JSON; null: any value. */
export const scalarSchemas: Record<string, JsonSchema> = {
  ID: { type: "string" },
  String: { type: "string" },
  Int: { type: "integer", minimum: -(2 ** 31), maximum: 2 ** 31 - 1 },
  Float: { type: "number" },
  Boolean: { type: "boolean" },
  DateTime: { type: "string", format: "date-time" },
  JSON: {},
};
