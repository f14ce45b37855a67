import { mapVariables, variablesOf, withEscapes, type StoredLaunch } from "@toolyard/launch";
import {
  currentText,
  literal,
  missingKeys,
  placeholderKeys,
  substitute,
  type Configuration,
} from "@toolyard/launch/placeholders.ts";
import { createWriteOnly } from "@toolyard/launch/write-only.ts";

/**
 * A template's launch with a configuration filled in for good. Variables and headers that hold writeOnly values become secrets; all of the
 * configuration is the secret CONFIG_JSON, as deployments would give it. Texts that have a placeholder without a value are left out.
 */
export function bakedLaunch(launch: StoredLaunch, schema: unknown, configuration: Configuration): StoredLaunch {
  const { hides } = createWriteOnly(schema);
  const text = (value: string): string => currentText(launch, value);
  const isWhole = (value: string): boolean => missingKeys(text(value), configuration).length === 0;
  const filled = (value: string): string => literal(substitute(text(value), configuration));

  const { escapes: _, ...baked } = mapVariables(launch, ({ name, value, secret }) => ({
    name,
    value: filled(value),
    secret: secret || placeholderKeys(text(value)).some(hides),
  }));
  const names = new Set(variablesOf(launch).flatMap(({ name, value }) => (isWhole(value) ? [name] : [])));
  const variables = variablesOf(baked).filter(({ name }) => names.has(name));
  if (baked.kind === "remote") return withEscapes({ ...baked, headers: variables });
  if (!variables.some(({ name }) => name === "CONFIG_JSON"))
    variables.push({ name: "CONFIG_JSON", value: literal(JSON.stringify(configuration)), secret: true });
  return withEscapes({
    ...baked,
    args: launch.kind === "remote" ? [] : launch.args.filter(isWhole).map(filled),
    env: variables,
  });
}
