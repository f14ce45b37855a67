import { globSync, readFileSync } from "node:fs";
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

const DEPENDENCIES = ["dependencies", "devDependencies", "optionalDependencies", "peerDependencies"] as const;
type Locked = { name?: string; version?: string; resolved?: string; link?: true } & Partial<
  Record<(typeof DEPENDENCIES)[number], Record<string, string>>
>;

/** A sentence for each place in which package-lock.json is not what the package.json files say, so that `npm ci` would refuse it. */
export function findLockDifferences(root: string): string[] {
  const read = (path: string) => JSON.parse(readFileSync(join(root, path), "utf8")) as unknown;
  const manifest = read("package.json") as Locked & { workspaces: string[] };
  const folders = manifest.workspaces
    .flatMap((glob) => globSync(`${glob}/package.json`, { cwd: root }))
    .map((path) => path.slice(0, -"/package.json".length));
  const manifests = new Map([
    ["", manifest],
    ...folders.map((folder) => [folder, read(`${folder}/package.json`) as Locked] as const),
  ]);
  return lockDifferences(manifests, (read("package-lock.json") as { packages: Record<string, Locked> }).packages);
}

/** @param manifests Of the project ("") and its workspaces, by folder */
export function lockDifferences(manifests: ReadonlyMap<string, Locked>, packages: Record<string, Locked>): string[] {
  const found: string[] = [];
  for (const [folder, { name, version, ...manifest }] of manifests) {
    const locked = packages[folder];
    const where = folder || "the project";
    if (locked?.name !== name || locked?.version !== version) found.push(`${where} is not there as ${name} ${version}`);
    for (const kind of DEPENDENCIES) {
      const [has, wants] = [Object.entries(locked?.[kind] ?? {}), Object.entries(manifest[kind] ?? {})];
      const differing = new Map([...has, ...wants].filter(([key]) => locked?.[kind]?.[key] !== manifest[kind]?.[key]));
      for (const key of differing.keys())
        found.push(`${kind} of ${where}: ${key} is ${locked?.[kind]?.[key]}, not ${manifest[kind]?.[key]}`);
      for (const [key, wanted] of wants) {
        const { version: installed = null } = packages[`node_modules/${key}`] ?? {};
        // Ranges, other names and workspaces are npm's to compare. A workspace's own folder of packages would not be in the image (Dockerfile).
        if (/^\d/.test(wanted) && installed !== wanted) found.push(`${key} is ${installed}, not ${wanted}`);
      }
    }
    if (folder !== "" && packages[`node_modules/${name}`]?.resolved !== folder)
      found.push(`node_modules/${name} does not lead to ${folder}`);
  }
  for (const folder of Object.keys(packages))
    if (!folder.includes("node_modules/") && !manifests.has(folder)) found.push(`${folder} is no workspace`);
  return found;
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
