import { readFileSync } from "node:fs";
import { join } from "node:path";
import { isTest, sourcesOf } from "./import-directions.ts";

interface Manifest {
  dependencies: Record<string, string>;
  devDependencies: Record<string, string>;
}

/** Started by its path in node_modules/.bin. */
const RUN_ONLY = new Set(["node"]);

/** Files that run on a developer's machine only. */
const isForDevelopment = (path: string) =>
  isTest(path) ||
  /^(packages\/testing|scripts\/(check|dependencies|generate|import-directions|undescribed)\.ts)/.test(path) ||
  (!path.includes("/") && path.endsWith(".config.ts"));

/** A sentence for each devDependency that production uses, and for each dependency that only development uses. */
export function findMisplacedDependencies(root: string): string[] {
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as Manifest;
  return misplacedDependencies(manifest, sourcesOf(root));
}

export function misplacedDependencies(
  { dependencies, devDependencies }: Manifest,
  files: readonly { path: string; source: string }[],
): string[] {
  const production = files.filter(({ path }) => !isForDevelopment(path));
  const found: string[] = [];
  const used = new Set<string>();
  for (const { path, source } of production) {
    // Names in other strings count, too: some packages are found by their path and sent to browsers.
    for (const [, name = ""] of source.matchAll(/"((?:@[a-z][\w.-]*\/)?[a-z][\w.-]*)(?:\/[^"\s]*)?"/g)) used.add(name);
    for (const [statement, name = ""] of source.matchAll(
      /^(?:import|export)\b[^;"]*"((?:@[a-z][\w.-]*\/)?[a-z][\w.-]*)[^"]*";/gm,
    )) {
      if (name in devDependencies && !/^(?:import|export) type\b/.test(statement))
        found.push(`${path} imports ${name}, which is among the devDependencies`);
    }
  }
  for (const name of Object.keys(dependencies))
    if (!used.has(name) && !RUN_ONLY.has(name))
      found.push(`Only development uses ${name}: it belongs to the devDependencies`);
  return found;
}
