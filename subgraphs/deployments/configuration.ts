import { Ajv2020, type ErrorObject } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { badInput, messageOf, type Problem } from "@toolyard/service-kit";
import { CONFIG_PLACEHOLDER, placeholderKeys } from "@toolyard/service-kit/config-placeholders.ts";
import { createWriteOnly } from "@toolyard/service-kit/write-only.ts";

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

/** What may be shown: values that the schema marks writeOnly are null, at any depth. */
export function publicConfiguration(schema: unknown, value: Configuration | null): Configuration | null {
  if (value === null) return null;
  // What is shown of an object is an object, unless the whole of it is writeOnly.
  return (createWriteOnly(schema).shown(value) as Configuration | null) ?? {};
}

/** Keys of `${config.key}` in the text that the configuration has no value for. */
export function missingKeys(text: string, configuration: Configuration | null): string[] {
  return placeholderKeys(text).filter((key) => valueAt(configuration, key) == null);
}

/** The text with each `${config.key}` replaced by its value: text as it is, anything else as JSON. What has no value stays. */
export function substitute(text: string, configuration: Configuration | null): string {
  return text.replaceAll(CONFIG_PLACEHOLDER, (placeholder, key: string) => {
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
