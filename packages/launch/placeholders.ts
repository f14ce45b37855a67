import { isObject } from "@toolyard/service-kit/json.ts";

/**
 * `${config.key}` in a launch: replaced by the deployment's configuration. Of dollars in a row before `{config.key}`, each two are one, and
 * an odd one left begins a placeholder: `$${config.key}` is the text `${config.key}`, and `$$${config.key}` a dollar and the value.
 *
 * A key is whatever text a property's name may be. It ends where another placeholder begins, so that a text of nothing but beginnings is
 * read once, not once from each of them; a row of dollars is read from its first only, for the same reason.
 */
const PLACEHOLDER = /(?<!\$)(\$+)\{config\.((?:(?!\$\{config\.)[^}])+)\}/g;

export type Configuration = Record<string, unknown>;

/** How the texts of a stored launch are written. */
interface Written {
  /** Left out where no text has an escape, and in launches of before there was one. */
  escapes?: boolean | undefined;
}

/** The keys of a text's placeholders, in order. */
export function placeholderKeys(text: string): string[] {
  return [...text.matchAll(PLACEHOLDER)].flatMap(([, dollars = "", key = ""]) => (isEscaped(dollars) ? [] : [key]));
}

/** Whether a text has a placeholder, or an escaped one. */
export function mentionsPlaceholder(text: string): boolean {
  return text.search(PLACEHOLDER) !== -1;
}

/** Whether a text is made of placeholders alone. */
export function isPlaceholdersAlone(text: string): boolean {
  return text !== "" && text.replaceAll(PLACEHOLDER, (whole, dollars: string) => (dollars === "$" ? "" : whole)) === "";
}

/** Whether a text means something else where dollars do not count by pairs. */
export function hasEscape(text: string): boolean {
  return text.matchAll(PLACEHOLDER).some(([, dollars = ""]) => dollars.length > 1);
}

/**
 * A text of a launch as it is written today. Before there was an escape, a placeholder was replaced whatever came before it, so that
 * `$${config.key}` was a dollar and the value.
 */
export function currentText({ escapes = false }: Written, text: string): string {
  if (escapes) return text;
  return text.replaceAll(PLACEHOLDER, (whole, dollars: string) => "$".repeat(dollars.length - 1) + whole);
}

/** Keys of placeholders in the text that the configuration has no value for. */
export function missingKeys(text: string, configuration: Configuration | null): string[] {
  return placeholderKeys(text).filter((key) => valueAt(configuration, key) == null);
}

/**
 * Whether a configuration may have no value for a key: its schema has the property and does not require it. Texts with its placeholder are
 * left out of the launch then.
 */
export function mayBeLeftOut(configSchema: unknown, key: string): boolean {
  if (!isObject(configSchema)) return false;
  const { properties, required } = configSchema;
  const isKnown = isObject(properties) && Object.hasOwn(properties, key);
  return isKnown && !(Array.isArray(required) && required.includes(key));
}

/** A text that `substitute` answers as it was given here: its dollars before `{config.key}` are doubled. */
export function literal(text: string): string {
  return text.replaceAll(PLACEHOLDER, (whole, dollars: string) => dollars + whole);
}

/**
 * The text with each placeholder replaced by its value: text as it is, anything else as JSON. A placeholder without a value stays.
 */
export function substitute(text: string, configuration: Configuration | null): string {
  return text.replaceAll(PLACEHOLDER, (_whole, dollars: string, key: string) => {
    const literal = "$".repeat(dollars.length / 2);
    const value = isEscaped(dollars) ? undefined : valueAt(configuration, key);
    if (value == null) return `${literal}${isEscaped(dollars) ? "" : "$"}{config.${key}}`;
    return literal + (typeof value === "string" ? value : JSON.stringify(value));
  });
}

/** Completes "the argument …". */
export const writeOnlyInArguments = (key: string): string =>
  `holds \${config.${key}}, which the configSchema marks writeOnly, and everybody on the host can read command lines: put it into env, or let the server read CONFIG_JSON`;

function isEscaped(dollars: string): boolean {
  return dollars.length % 2 === 0;
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
