import { globSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";

/** The parts of the tree that each part may import besides itself. Of packages, `testing` is for tests only; tests/ may import anything. */
const PARTS: Record<string, readonly string[]> = {
  packages: ["packages"],
  subgraphs: ["packages"],
  schema: ["packages"],
  gateway: ["packages", "schema"],
  cli: ["packages"],
  "standalone.ts": ["standalone"],
  // The process that hosts all of them; its banner names the command line's defaults.
  standalone: ["packages", "gateway", "subgraphs", "cli"],
  worker: ["packages", "subgraphs"],
  // The process that starts all of them, each as its own; it migrates as the scripts do.
  distributed: ["packages", "gateway", "subgraphs", "standalone", "scripts"],
  // Scripts that people run in the tree, on stores and schemas alike.
  scripts: ["packages", "schema", "subgraphs", "cli"],
  examples: [],
  deploy: [],
};

/** The gateway's rooms, or single files of them, that each room may import besides itself. */
const ROOMS: Record<string, readonly string[]> = {
  formats: [],
  "execution/schema": ["formats"],
  "execution/clients": ["formats"],
  // Planning hands over a plan; projections are made of an operation.
  "execution/running": [
    "formats",
    "execution/schema",
    "execution/clients",
    "execution/planning/query-plan.ts",
    "execution/operation.ts",
  ],
  // Plans are judged by running them over a made-up graph.
  "execution/planning": ["formats", "execution/schema", "execution/clients", "execution/running"],
  execution: [
    "formats",
    "execution/schema",
    "execution/clients",
    "execution/running",
    "execution/planning",
    // An optional engine of the executor.
    "execution/reference/apollo-queries.ts",
  ],
  "execution/reference": ["formats", "execution", "execution/schema", "execution/clients", "execution/running"],
  admission: ["formats", "execution", "execution/clients"],
  supergraph: ["formats", "admission", "execution", "execution/schema", "execution/clients"],
  observability: ["formats", "admission", "execution/clients", "execution/planning", "execution/reference"],
  subscriptions: ["formats", "admission", "supergraph", "execution", "execution/clients"],
  identity: ["formats"],
  // A route reads the variables that are its own.
  http: ["config.ts", "formats", "admission", "subscriptions", "observability", "rest", "events"],
  // The REST shim: a table that a route of http/ serves.
  rest: ["formats", "admission"],
  // Streams of events for clients without GraphQL, which two routes of http/ serve.
  events: ["formats", "admission", "subscriptions", "rest"],
};

/** Files that may import a folder which their part may not, each for its reason. */
const OPEN_FOLDERS: Record<string, readonly string[]> = {
  // The OpenAPI document is made of REST's table of routes, and of what other routes say of themselves.
  "scripts/generate.ts": ["gateway/rest/", "gateway/http/route.ts"],
};

/** Files that may import other rooms than theirs, each for its reason. */
const EXCEPTIONS: Record<string, readonly string[]> = {
  // Every protocol's operations pass it, so it joins limits, metrics and errors.
  "admission/operation-gate.ts": ["supergraph", "subscriptions", "observability", "execution/reference"],
  // It compares answers to operations that were admitted, on the graph in service.
  "execution/reference/shadow.ts": ["admission", "supergraph"],
};

/** Databases' libraries, and where each is at home: adapters, and what tables are made of. Everything else knows stores by their ports. */
const DRIVERS: readonly [library: RegExp, home: RegExp][] = [
  [/^typeorm(\/|$)/, /^packages\/storage\/|\.sql\.ts$|(^|[/-])database\.ts$/],
  [/^(libsql|mysql2)(\/|$)/, /^packages\/storage\/|^subgraphs\/knowledge\/worker\//],
];
/** What TypeORM's manager is called wherever it is handed on, and what drivers say. */
const OF_DATABASES =
  /\bmanager\b|\bgetRepository\(|\b(SQLITE|ER)_[A-Z]{2}|UNIQUE constraint|database is locked|\bPRAGMA\b/;

export const isTest = (path: string) =>
  /[.-](test|bench|contract|fixture|harness)\.ts$/.test(path) ||
  /(^|\/)fixtures\//.test(path) ||
  path.startsWith("tests/");

/**
 * Imports go by the tables above, in every folder; packages import one another without circles. Databases are known to stores' adapters alone. The environment and signals belong to
 * main.ts files, to schema/compose.ts and the scripts, which people run, and to tests.
 * @returns a sentence for each breach.
 */
export function findForbiddenImports(root: string): string[] {
  const files = sourcesOf(root);
  return [...files.flatMap(({ path, source }) => breachesOf(path, source)), ...circlesOf(files)];
}

/** Folders of the root that hold no sources of the project. */
const OTHERS = ["node_modules", "data", "coverage"];

/** The project's sources but for generated ones, in a clone or in a copy without Git; paths are from the root. */
export function sourcesOf(root: string): { path: string; source: string }[] {
  return readdirSync(root, { withFileTypes: true })
    .filter((entry) => !entry.name.startsWith(".") && !OTHERS.includes(entry.name))
    .flatMap((entry) =>
      entry.isDirectory()
        ? globSync(`${entry.name}/**/*.{ts,mts,cts,mjs}`, {
            cwd: root,
            exclude: (path) => /node_modules|generated/.test(path),
          })
        : /\.(?:ts|mts|cts|mjs)$/.test(entry.name)
          ? [entry.name]
          : [],
    )
    .map((path) => ({ path, source: readFileSync(join(root, path), "utf8") }));
}

/** The breaches of one file; `path` is relative to the root. */
export function breachesOf(path: string, source: string): string[] {
  const breaches: string[] = [];
  if (PARTS[partOf(path)] === undefined && partOf(path) !== "tests" && !isConfig(path))
    breaches.push(`${path} is in no part of the tree: ${partOf(path)} is no row of scripts/import-directions.ts`);
  for (const { specifier, target } of importsOf(path, source)) {
    const [from, to] = [unitOf(path), unitOf(target)];
    if (from !== to) {
      if (!mayImport(path, target)) breaches.push(`${path} imports ${specifier}: ${from} may not import ${to}`);
      else if (specifier.startsWith(".") && /^(packages|subgraphs|gateway|schema)$/.test(partOf(target)))
        // The installer runs before there are packages: it has files alone.
        if (path !== "scripts/install.mjs")
          breaches.push(`${path} imports ${specifier}: import another package by its name`);
    } else if (from === "gateway" && !isTest(path)) {
      const room = roomOf(path);
      const allowed = [...(ROOMS[room] ?? []), ...(EXCEPTIONS[inGateway(path)] ?? [])];
      const isAllowed = [roomOf(target), inGateway(target)].some((each) => each === room || allowed.includes(each));
      // The files beside the rooms put them together.
      if (room !== "" && !isAllowed)
        breaches.push(`${path} imports ${specifier}: gateway/${room} may not import gateway/${roomOf(target)}`);
    }
  }
  if (!isTest(path) && !path.startsWith("packages/testing/") && path !== "scripts/import-directions.ts") {
    for (const specifier of specifiersOf(source))
      for (const [library, home] of DRIVERS)
        if (library.test(specifier) && !home.test(path))
          breaches.push(`${path} imports ${specifier}: only stores' adapters (*.sql.ts) and tables may`);
    const said = OF_DATABASES.exec(code(source))?.[0];
    if (said !== undefined && !DRIVERS.some(([, home]) => home.test(path)))
      breaches.push(`${path} says ${said}: only stores' adapters (*.sql.ts) know databases`);
  }
  const isRun = /(^|\/)main\.ts$/.test(path) || path === "schema/compose.ts" || partOf(path) === "scripts";
  if (isRun || isTest(path) || path.startsWith("packages/testing/")) return breaches;
  if (/\bprocess\.env\b/.test(code(source))) breaches.push(`${path} reads process.env: only main.ts files may`);
  const handlesSignals = /\bprocess\.(on|once)\(\s*"SIG/.test(code(source));
  if (handlesSignals && path !== "packages/service-kit/process/process-lifetime.ts")
    breaches.push(`${path} handles a signal: only main.ts files may`);
  return breaches;
}

/** Packages that import each other, by however many between them. */
export function circlesOf(files: readonly { path: string; source: string }[]): string[] {
  const imports = new Map<string, Set<string>>();
  for (const { path, source } of files) {
    if (partOf(path) !== "packages" || isTest(path)) continue;
    for (const { target } of importsOf(path, source)) {
      const [from, to] = [unitOf(path), unitOf(target)];
      if (from !== to) imports.set(from, (imports.get(from) ?? new Set()).add(to));
    }
  }
  const reaches = (from: string, to: string, seen = new Set<string>()): boolean =>
    [...(imports.get(from) ?? [])].some(
      (next) => next === to || (!seen.has(next) && reaches(next, to, seen.add(next))),
    );
  return [...imports.keys()]
    .filter((unit) => reaches(unit, unit))
    .map((unit) => `${unit} imports itself by way of others`);
}

function mayImport(path: string, target: string): boolean {
  if (partOf(path) === "tests") return true;
  if (unitOf(target) === "packages/testing") return isTest(path) || isConfig(path);
  if (OPEN_FOLDERS[path]?.some((folder) => target.startsWith(folder))) return true;
  return (PARTS[partOf(path)] ?? []).includes(partOf(target));
}

/** A file's imports from this repository, as paths from the root. */
function importsOf(path: string, source: string): { specifier: string; target: string }[] {
  return specifiersOf(source).flatMap((specifier) => {
    const target = specifier.startsWith(".") ? join(dirname(path), specifier) : pathOfPackage(specifier);
    return target === null ? [] : [{ specifier, target }];
  });
}

function specifiersOf(source: string): string[] {
  return [...source.matchAll(/(?:\bfrom|\bimport\(|\bimport)\s*"([^"]+)"/g)].map(([, specifier = ""]) => specifier);
}

/** Source without line comments and docstrings, which may mention such words. */
function code(source: string): string {
  return source.replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/(^|\s)\/\/.*$/gm, "");
}

/** At the root, of a tool. */
const isConfig = (path: string) => /^\w+\.config\.ts$/.test(path);

/** The outermost folder, or the file where it is in none. */
function partOf(path: string): string {
  return path.split("/")[0] ?? path;
}

function unitOf(path: string): string {
  const [first = "", second] = path.split("/");
  return first === "packages" || first === "subgraphs" ? `${first}/${second}` : first;
}

const inGateway = (path: string) => path.replace(/^gateway\//, "");

/** A room of the gateway; empty for the files beside them. */
function roomOf(path: string): string {
  const [first, second] = inGateway(dirname(path)).split("/");
  if (first === "gateway" || first === undefined) return "";
  return first === "execution" && second !== undefined ? `${first}/${second}` : first;
}

function pathOfPackage(specifier: string): string | null {
  const [, name, file = "index.ts"] = /^@toolyard\/([a-z-]+)(?:\/(.+))?$/.exec(specifier) ?? [];
  if (name === undefined) return null;
  if (name === "gateway" || name === "schema") return `${name}/${file}`;
  return name.startsWith("subgraph-") && name !== "subgraph-host"
    ? `subgraphs/${name.slice("subgraph-".length)}/${file}`
    : `packages/${name}/${file}`;
}
