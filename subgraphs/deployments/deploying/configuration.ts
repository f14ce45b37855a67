import type { SchemaValidator } from "@toolyard/json-schema";
import { CONFIG_PLACEHOLDER, placeholderKeys } from "@toolyard/service-kit/config-placeholders.ts";
import { createWriteOnly } from "@toolyard/service-kit/write-only.ts";
import { isObject } from "@toolyard/service-kit/json.ts";

export type Configuration = Record<string, unknown>;

/**
 * The configuration as the schema (JSON Schema 2020-12) takes it, defaults filled in. Null for none where no schema asks for any.
 * @throws ToolyardError as SchemaValidator's checkValue.
 */
export async function checkConfiguration(
  schemas: Pick<SchemaValidator, "checkValue">,
  schema: unknown,
  given: unknown,
  subject: string | null,
): Promise<Configuration | null> {
  if (schema == null && given == null) return null;
  return schemas.checkValue(schema ?? null, given ?? {}, "input.configuration", subject);
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
    if (!isObject(value) || !Object.hasOwn(value, part)) return undefined;
    value = value[part];
  }
  return value;
}
