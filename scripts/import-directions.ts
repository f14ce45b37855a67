import { readFileSync, readdirSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

/**
 * Imports run one way: gateway, subgraphs and cli import packages, the gateway schema/, too; packages import packages; nothing imports a
 * subgraph or the gateway but standalone.ts, scripts/ and tests. The environment and signals belong to main.ts files, to
 * standalone.ts and to schema/compose.ts, which people run.
 * @returns a sentence for each breach.
 */
export function findForbiddenImports(root: string): string[] {
  return ["cli", "packages", "gateway", "subgraphs", "schema"]
    .flatMap((folder) => sourceFiles(join(root, folder)))
    .flatMap((file) => breachesOf(relative(root, file), readFileSync(file, "utf8")));
}

/** The breaches of one file; `path` is relative to the root. */
export function breachesOf(path: string, source: string): string[] {
  if (
    /[.-](test|bench|contract|fixture|harness)\.ts$/.test(path) ||
    path.includes("/fixtures/") ||
    path.startsWith("packages/testing/")
  )
    return [];
  const breaches: string[] = [];
  const from = unitOf(path);
  for (const [, specifier = ""] of source.matchAll(/(?:from|import\()\s*"([^"]+)"/g)) {
    const to = specifier.startsWith(".")
      ? unitOf(relative(".", resolve(dirname(path), specifier)))
      : unitOfPackage(specifier);
    if (to === null || to === from) continue;
    const allowed = to.startsWith("packages/") ? to !== "packages/testing" : from === "gateway" && to === "schema";
    if (!allowed) breaches.push(`${path} imports ${specifier}: ${from} may not import ${to}`);
    else if (specifier.startsWith("."))
      breaches.push(`${path} imports ${specifier}: import another package by its name`);
  }
  const isMain = /(^|\/)main\.ts$/.test(path) || path === "schema/compose.ts";
  if (!isMain && /\bprocess\.env\b/.test(code(source)))
    breaches.push(`${path} reads process.env: only main.ts files may`);
  if (
    !isMain &&
    path !== "packages/service-kit/process/process-lifetime.ts" &&
    /\bprocess\.(on|once)\(\s*"SIG/.test(code(source))
  ) {
    breaches.push(`${path} handles a signal: only main.ts files may`);
  }
  return breaches;
}

/** Source without line comments and docstrings, where such words are only talked about. */
function code(source: string): string {
  return source.replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/(^|\s)\/\/.*$/gm, "");
}

function unitOf(path: string): string | null {
  const [first, second] = path.split("/");
  if (first === "packages" || first === "subgraphs") return `${first}/${second}`;
  return first === "cli" || first === "gateway" || first === "schema" ? first : null;
}

function unitOfPackage(specifier: string): string | null {
  const name = /^@toolyard\/([a-z-]+)/.exec(specifier)?.[1];
  if (name === undefined) return null;
  if (name === "gateway" || name === "schema") return name;
  return name.startsWith("subgraph-") && name !== "subgraph-host"
    ? `subgraphs/${name.slice("subgraph-".length)}`
    : `packages/${name}`;
}

function sourceFiles(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts") && !file.includes("node_modules") && !file.includes("generated"))
    .map((file) => join(folder, file));
}
