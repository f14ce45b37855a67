import { badInput, messageOf } from "@toolyard/service-kit";
import formats from "ajv-formats";
import { Ajv2020, type AnySchemaObject } from "ajv/dist/2020.js";

const MAX_CHARACTERS = 65_536;
const MAX_DEPTH = 32;

/** Checks that a value is a JSON Schema that configurations can be checked against; answers it as plain JSON. */
export type ConfigSchemaCheck = (value: unknown, path: string) => AnySchemaObject;

/**
 * JSON Schema 2020-12, self-contained: a `$ref` leads to the schema itself, nothing is fetched.
 * The check throws ToolyardError BAD_USER_INPUT with a problem at `path`.
 */
export function createConfigSchemaCheck(): ConfigSchemaCheck {
  let ajv: Ajv2020 | null = null;

  return (value, path) => {
    const wrong = (message: string) => badInput([{ path, message }]);
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw wrong('must be a JSON Schema, which is an object, as in {"type": "object", "properties": {}}');
    }
    const problem = problemOfJson(value, MAX_DEPTH);
    if (problem !== null) throw wrong(problem);
    const text = JSON.stringify(value);
    if (text.length > MAX_CHARACTERS) throw wrong(`is too large: at most ${MAX_CHARACTERS} characters as JSON`);
    // An object went in, and JSON has no other kind of it.
    const schema = JSON.parse(text) as AnySchemaObject;

    // Ajv's own compiling of the meta-schema takes some milliseconds: not before it is needed.
    if (!ajv) {
      ajv = new Ajv2020({ strict: false, addUsedSchema: false, logger: false });
      // The package is CommonJS: its default export comes as a namespace to the type checker.
      formats.default(ajv);
    }
    try {
      ajv.compile(schema);
    } catch (error) {
      throw wrong(`is not a JSON Schema (2020-12) that can be used: ${messageOf(error)}`);
    } finally {
      ajv.removeSchema(schema);
    }
    return schema;
  };
}

/** What keeps a value from being JSON that every store and program takes; null when nothing does. */
function problemOfJson(value: unknown, depth: number): string | null {
  if (depth < 0) return `is nested too deeply: at most ${MAX_DEPTH} levels`;
  if (value === null || typeof value === "boolean") return null;
  if (typeof value === "number") return Number.isFinite(value) ? null : "must have finite numbers only";
  if (typeof value === "string") {
    return value.isWellFormed() && !value.includes("\0") ? null : "must be well-formed Unicode without NUL";
  }
  if (typeof value !== "object") return "must be JSON";
  for (const [key, item] of Object.entries(value)) {
    const problem = problemOfJson(key, depth) ?? problemOfJson(item, depth - 1);
    if (problem !== null) return problem;
  }
  return null;
}
