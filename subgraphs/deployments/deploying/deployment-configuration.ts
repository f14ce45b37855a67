import type { SchemaValidator } from "@toolyard/json-schema";
import type { Configuration } from "@toolyard/launch/placeholders.ts";
import { createWriteOnly } from "@toolyard/launch/write-only.ts";

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

/** The configuration that may be shown: values that the schema marks writeOnly are null, at any depth. */
export function publicConfiguration(schema: unknown, value: Configuration | null): Configuration | null {
  if (value === null) return null;
  // What is shown of an object is an object, unless the whole of it is writeOnly.
  return (createWriteOnly(schema).shown(value) as Configuration | null) ?? {};
}
