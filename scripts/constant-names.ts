import { isTest, sourcesOf } from "./import-directions.ts";

/** A constant of a module in camelCase whose value is a number, a string, a pattern, or a list or set that begins with one. */
const MISNAMED =
  /^(?:export )?const ([a-z]\w*)(?:: [^=\n]+)? = (?:-?\d|["`]|\/(?![/*])|(?:new (?:Set|Map)(?:<[^(\n]*>)?\(\s*)?\[\s*["`\d])/gm;

/** Such constants are UPPER_SNAKE, but in tests. @returns a sentence for each breach. */
export function findMisnamedConstants(root: string): string[] {
  return sourcesOf(root)
    .filter(({ path }) => path.endsWith(".ts") && !isTest(path))
    .flatMap(({ path, source }) => misnamedIn(path, source));
}

export function misnamedIn(path: string, source: string): string[] {
  return [...source.matchAll(MISNAMED)].map(([, name]) => `${path}: the constant ${name} is to be in UPPER_SNAKE`);
}
