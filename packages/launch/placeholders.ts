/**
 * `${config.key}` in a launch: replaced by the deployment's configuration. A key ends where another placeholder begins, so that a text
 * of nothing but beginnings is read once, not once from each of them.
 */
export const CONFIG_PLACEHOLDER: RegExp = /\$\{config\.((?:(?!\$\{config\.)[^}])+)\}/g;

/** Completes "the argument …". */
export const writeOnlyInArguments = (key: string): string =>
  `holds \${config.${key}}, which the configSchema marks writeOnly, and everybody on the host can read command lines: put it into env, or let the server read CONFIG_JSON`;

/** The keys of a text's placeholders, in order. */
export function placeholderKeys(text: string): string[] {
  return [...text.matchAll(CONFIG_PLACEHOLDER)].map((match) => match[1] ?? "");
}
