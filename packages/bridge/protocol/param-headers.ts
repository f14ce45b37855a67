import { isObject } from "@toolyard/service-kit/json.ts";

/**
 * `Mcp-Param-*` headers (SEP-2243): a tool's input schema may name parameters that clients repeat in headers, for proxies that
 * route by them; a server compares the two. The rules are those of `scanXMcpHeaderDeclarations` and
 * `validateMcpParamHeaders` in @modelcontextprotocol/server; `param-headers.property.test.ts` holds this file to them.
 */

export interface HeaderDeclaration {
  /** Keys from the arguments to the value. */
  readonly path: readonly string[];
  readonly name: string;
  readonly type: string;
}

const PREFIX = "Mcp-Param-";
const ANNOTATION = "x-mcp-header";
const HTTP_TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const DECIMAL = /^-?\d+(\.\d+)?$/;
/** `number` makes a declaration invalid for clients, yet servers check the headers of those who send them. */
const PRIMITIVE_TYPES: readonly string[] = ["string", "integer", "boolean", "number"];
const OUT_OF_REACH: readonly string[] = [
  "items",
  "prefixItems",
  "contains",
  "additionalProperties",
  "unevaluatedProperties",
  "unevaluatedItems",
  "propertyNames",
  "oneOf",
  "anyOf",
  "allOf",
  "not",
  "if",
  "then",
  "else",
];
const OUT_OF_REACH_BY_NAME: readonly string[] = ["patternProperties", "dependentSchemas", "$defs", "definitions"];
/** Schemas nest as deep as a server likes; annotations below this depth are ignored. */
const MAX_DEPTH = 100;

/** The parameters of a tool that headers repeat. None when one of the declarations is invalid: the tool has then no valid one. */
export function headerDeclarations(inputSchema: unknown): HeaderDeclaration[] {
  const declarations: HeaderDeclaration[] = [];
  const seen = new Set<string>();

  function isValid(schema: unknown, path: readonly string[], reachable: boolean, depth: number): boolean {
    if (Array.isArray(schema)) return schema.every((branch) => isValid(branch, path, reachable, depth));
    if (!isObject(schema) || depth > MAX_DEPTH) return true;
    if (ANNOTATION in schema) {
      const { [ANNOTATION]: name, type } = schema;
      if (!reachable || path.length === 0 || typeof name !== "string" || !HTTP_TOKEN.test(name)) return false;
      if (typeof type !== "string" || !PRIMITIVE_TYPES.includes(type) || seen.has(name.toLowerCase())) return false;
      seen.add(name.toLowerCase());
      declarations.push({ path, name, type });
    }
    const properties = isObject(schema.properties) ? Object.entries(schema.properties) : [];
    return (
      properties.every(([key, child]) => isValid(child, [...path, key], reachable, depth + 1)) &&
      OUT_OF_REACH.every((keyword) => isValid(schema[keyword], path, false, depth + 1)) &&
      OUT_OF_REACH_BY_NAME.every((keyword) => {
        const named = schema[keyword];
        return !isObject(named) || Object.values(named).every((child) => isValid(child, path, false, depth + 1));
      })
    );
  }

  return isValid(inputSchema, [], true, 0) ? declarations : [];
}

/** A header's value: Base64 of UTF-8 in `=?base64?…?=`, or as it stands. Null when it is not valid Base64. */
export function decodeHeader(value: string): string | null {
  if (!value.startsWith("=?base64?") || !value.endsWith("?=")) return value;
  const encoded = value.slice("=?base64?".length, -2);
  const bytes = Buffer.from(encoded, "base64");
  if (bytes.toString("base64") !== encoded) return null;
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
}

function printed(value: unknown): string | null {
  if (typeof value === "string") return value;
  if (typeof value === "boolean") return String(value);
  if (typeof value !== "number" || (Number.isInteger(value) && !Number.isSafeInteger(value))) return null;
  return String(value);
}

/** The header of a call that contradicts its arguments; null when they agree. */
export function findParamMismatch(
  declarations: readonly HeaderDeclaration[],
  args: unknown,
  header: (name: string) => string | undefined,
): { header: string; body: string } | null {
  for (const { path, name, type } of declarations) {
    let value: unknown = args;
    for (const key of path) value = isObject(value) ? value[key] : undefined;
    const text = printed(value);
    if (text === null) continue;
    const field = PREFIX + name;
    const said = `${path.join(".")}=${JSON.stringify(value)}`;
    const given = header(field);
    if (given === undefined)
      return { header: field, body: `the body carries ${said} but the ${field} header is absent` };
    const decoded = decodeHeader(given);
    if (decoded === null)
      return { header: field, body: `the ${field} header carries an invalid Base64 sentinel value` };
    const numeric = (type === "integer" || type === "number") && typeof value === "number" && DECIMAL.test(decoded);
    if (numeric ? Number(decoded) !== value : decoded !== text) {
      return {
        header: field,
        body: `the ${field} header decodes to ${JSON.stringify(decoded)} but the body carries ${said}`,
      };
    }
  }
  return null;
}
