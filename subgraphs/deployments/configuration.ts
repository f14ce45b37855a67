import { Ajv2020, type ErrorObject } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { badInput, messageOf, type Problem } from "@toolyard/service-kit";

export type Configuration = Record<string, unknown>;

/**
 * The configuration as the schema (JSON Schema 2020-12) takes it, defaults filled in. Null for none where no schema asks for any.
 * @throws ToolyardError BAD_USER_INPUT with a problem for each place.
 */
export function checkConfiguration(schema: unknown, given: unknown, at = "input.configuration"): Configuration | null {
  if (given != null && !isRecord(given)) throw badInput([{ path: at, message: "must be a JSON object" }]);
  if (schema == null) return given == null ? null : { ...given };
  if (!isRecord(schema))
    throw badInput([{ path: "configSchema", message: "the tool's configSchema is not a JSON Schema object" }]);
  const ajv = new Ajv2020({ allErrors: true, useDefaults: true, strict: false, logger: false });
  // The package is CommonJS: its function is the module's default, and Node gives the module.
  (addFormats as unknown as (ajv: Ajv2020) => void)(ajv);
  let validate;
  try {
    validate = ajv.compile(schema);
  } catch (cause) {
    throw badInput([{ path: "configSchema", message: `the tool's configSchema cannot be used: ${messageOf(cause)}` }]);
  }
  const value = structuredClone(given ?? {}) as Configuration;
  if (!validate(value)) throw badInput((validate.errors ?? []).map((error) => toProblem(error, at)));
  return value;
}

function toProblem(error: ErrorObject, at: string): Problem {
  const place = error.instancePath.split("/").slice(1).map(unescapePointer);
  const params: Record<string, unknown> = error.params;
  if (error.keyword === "required") {
    return { path: [at, ...place, String(params["missingProperty"])].join("."), message: "is required" };
  }
  if (error.keyword === "additionalProperties") {
    const name = String(params["additionalProperty"]);
    return { path: [at, ...place, name].join("."), message: "is not part of the tool's configuration" };
  }
  const allowed = error.keyword === "enum" ? `: ${JSON.stringify(params["allowedValues"])}` : "";
  return { path: [at, ...place].join("."), message: `${error.message ?? "is not valid"}${allowed}` };
}

/** RFC 6901. */
function unescapePointer(part: string): string {
  return part.replaceAll("~1", "/").replaceAll("~0", "~");
}

/** What may be shown: values of properties that the schema marks writeOnly are null, at any depth. */
export function publicConfiguration(schema: unknown, value: Configuration | null): Configuration | null {
  if (value === null) return null;
  // Masking an object gives an object, unless the whole of it is writeOnly.
  return (mask(schema, value) as Configuration | null) ?? {};
}

function mask(schema: unknown, value: unknown): unknown {
  if (!isRecord(schema)) return value;
  if (schema["writeOnly"] === true) return null;
  let masked = value;
  for (const keyword of ["allOf", "anyOf", "oneOf"])
    for (const part of asList(schema[keyword])) masked = mask(part, masked);
  if (typeof schema["$ref"] === "string" && value !== null && typeof value === "object") return null;
  if (Array.isArray(masked)) return masked.map((item) => mask(schema["items"], item));
  if (!isRecord(masked)) return masked;
  const properties = isRecord(schema["properties"]) ? schema["properties"] : {};
  return Object.fromEntries(
    Object.entries(masked).map(([key, item]) => [
      key,
      mask(Object.hasOwn(properties, key) ? properties[key] : schema["additionalProperties"], item),
    ]),
  );
}

function asList(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

const PLACEHOLDER = /\$\{config\.([^}]+)\}/g;

/** Keys of `${config.key}` in the text that the configuration has no value for. */
export function missingKeys(text: string, configuration: Configuration | null): string[] {
  return [...text.matchAll(PLACEHOLDER)]
    .map((match) => match[1] ?? "")
    .filter((key) => valueAt(configuration, key) == null);
}

/** The text with each `${config.key}` replaced by its value: text as it is, anything else as JSON. What has no value stays. */
export function substitute(text: string, configuration: Configuration | null): string {
  return text.replaceAll(PLACEHOLDER, (placeholder, key: string) => {
    const value = valueAt(configuration, key);
    if (value == null) return placeholder;
    return typeof value === "string" ? value : JSON.stringify(value);
  });
}

/** By the key itself, else along its dots. */
function valueAt(configuration: Configuration | null, key: string): unknown {
  if (configuration === null) return undefined;
  if (Object.hasOwn(configuration, key)) return configuration[key];
  let value: unknown = configuration;
  for (const part of key.split(".")) {
    if (!isRecord(value) || !Object.hasOwn(value, part)) return undefined;
    value = value[part];
  }
  return value;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
