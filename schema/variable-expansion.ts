import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import type { Environment } from "@toolyard/service-kit";

export interface VariableSources {
  env: Environment;
  /** The base of relative paths. */
  folder: string;
  /** Null when there is no such file. */
  readFile?: ((path: string) => string | null) | undefined;
}

/**
 * Replaces `${env.NAME}`, `${env.NAME:-default}` and `${file.PATH}` in every string of a value, as rover and Apollo's router do
 * (https://www.apollographql.com/docs/graphos/routing/configuration/envvars#variable-expansion); `$$` stands for one `$`.
 * @throws Error naming the variable that is not set
 */
export function expandVariables(value: unknown, sources: VariableSources): unknown {
  if (typeof value === "string") return expand(value, sources);
  if (Array.isArray(value)) return value.map((item) => expandVariables(item, sources));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, expandVariables(inner, sources)]));
}

function expand(text: string, sources: VariableSources): string {
  return text.replaceAll(/\$\$|\$\{([^}]*)\}/g, (whole, key: string | undefined) => {
    if (key === undefined) return "$";
    const [, kind, name = "", fallback] = /^(env|file)\.(.*?)(?::-(.*))?$/s.exec(key) ?? [];
    if (kind === undefined) throw new Error(`${whole} is not known: variables are as \${env.NAME} or \${file.PATH}`);
    const found = kind === "env" ? sources.env[name] : contentOf(name, sources);
    // As a shell's `:-`: an empty value counts as missing.
    if (fallback !== undefined) return found === undefined || found === "" ? fallback : found;
    if (found === undefined)
      throw new Error(
        kind === "env"
          ? `${whole} is not set: set the environment variable ${name}, or write \${env.${name}:-default}`
          : `${whole} cannot be read: there is no such file`,
      );
    return found;
  });
}

function contentOf(path: string, { folder, readFile = readIfThere }: VariableSources): string | undefined {
  return readFile(resolve(folder, path)) ?? undefined;
}

function readIfThere(path: string): string | null {
  return existsSync(path) ? readFileSync(path, "utf8") : null;
}
