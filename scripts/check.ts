/**
 * `npm run check`: types, lint, circles and directions of imports, names of constants, unused code, dependencies, package-lock.json, formatting, generated files, descriptions,
 * migrations. Prints failures; otherwise only a line each. `npm run check -- types migrations` makes only those that are named.
 */
import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { buildSchema } from "graphql";
import { findMisnamedConstants } from "./constant-names.ts";
import { findLockDifferences, findMisplacedDependencies } from "./dependencies.ts";
import { findForbiddenImports, sourcesOf } from "./import-directions.ts";
import { findSchemaDifferences, readStores } from "./store-schemas.ts";
import { findUndescribed } from "./undescribed.ts";

const root = join(import.meta.dirname, "..");
const bin = (name: string) => join(root, "node_modules", ".bin", name);
const TYPES = join(root, "node_modules/.cache/toolyard-types/tsconfig.tsbuildinfo");

const CHECKS: { name: string; run: () => Promise<string | null> }[] = [
  // What has not changed since the last check is not checked again: seven seconds of CPU instead of sixty.
  {
    name: "types",
    run: async () =>
      explained(await output(bin("tsc"), ["-p", "tsconfig.json", "--incremental", "--tsBuildInfoFile", TYPES])),
  },
  { name: "files that tsc checks", run: findUnchecked },
  { name: "lint", run: () => output(bin("oxlint"), ["--type-aware", "--deny-warnings", "--quiet"]) },
  {
    name: "unused files, exports and dependencies",
    run: () => output(bin("knip"), ["--no-progress", "--no-config-hints"]),
  },
  {
    name: "dependencies",
    run: async () => {
      const found = findMisplacedDependencies(root);
      return found.length === 0 ? null : found.join("\n");
    },
  },
  {
    name: "package-lock.json",
    run: async () => {
      const found = findLockDifferences(root);
      if (found.length === 0) return null;
      return ["npm ci would refuse it. Write it anew: npm install --package-lock-only", ...found].join("\n");
    },
  },
  {
    name: "formatting",
    run: () =>
      output(bin("prettier"), ["--check", "--cache", "--cache-strategy", "content", "--log-level", "warn", "."]),
  },
  { name: "generated files", run: () => output(process.execPath, ["scripts/generate.ts", "--check"]) },
  {
    name: "import directions",
    run: async () => {
      const found = findForbiddenImports(root);
      return found.length === 0 ? null : found.join("\n");
    },
  },
  {
    name: "names of constants",
    run: async () => findMisnamedConstants(root).join("\n") || null,
  },
  {
    name: "descriptions",
    run: async () => {
      const sdl = await readFile(join(root, "schema", "internal-api.graphql"), "utf8");
      const found = findUndescribed(buildSchema(sdl));
      const what = "Without a description in schema.graphql, a text in quotes above:";
      return found.length === 0 ? null : [what, ...found.map((coordinate) => `- ${coordinate}`)].join("\n");
    },
  },
  {
    name: "migrations",
    run: async () => {
      const oneWay = (await readStores(root)).flatMap(({ name, migrations }) =>
        migrations.filter(({ undo }) => undo === null).map((migration) => `- ${name}: ${migration.name}.down.sql`),
      );
      if (oneWay.length > 0)
        return ["These migrations have no way back: write the statements that undo them.", ...oneWay].join("\n");
      const found = await findSchemaDifferences(root);
      if (found.length === 0) return null;
      const stores = found.map(({ module, statements }) => `- ${module}:\n    ${statements.join("\n    ")}`);
      return [
        "Entities differ from the migrations. Write one with `npm run migrate -- create NAME`, as in add-tags:",
        ...stores,
      ].join("\n");
    },
  },
];

/** tsc reports a field without a resolver in terms of types: the remedy comes first. */
function explained(failure: string | null): string | null {
  const fields = [
    ...(failure ?? "").matchAll(/resolvers\.ts\(.*?\n?.*?(?:Property '(\w+)' is missing|: (\w+(?:, \w+)*)$)/gm),
  ]
    .map(([, one, several]) => one ?? several)
    .filter((each) => each !== undefined);
  if (fields.length === 0) return failure;
  return [
    `Without a resolver in resolvers.ts, and without a property of that name in what the type is made from: ${fields.join(", ")}.`,
    "docs/contributing.md has the steps. In tsc's words:",
    failure,
  ].join("\n");
}

/** The TypeScript files that are in no program of tsc, so that nothing finds their errors. */
async function findUnchecked(): Promise<string | null> {
  const program = await printed(bin("tsc"), ["--listFilesOnly", "-p", "tsconfig.json"]);
  const checked = new Set(program.text.split("\n").map((path) => relative(root, path)));
  const unchecked = sourcesOf(root)
    .map(({ path }) => path)
    .filter((path) => path.endsWith("ts") && !checked.has(path));
  return unchecked.length === 0 ? null : ["tsconfig.json leaves out:", ...unchecked].join("\n");
}

/** The output of a program that failed; null when it succeeded. */
async function output(command: string, args: string[]): Promise<string | null> {
  const { code, text } = await printed(command, args);
  return code === 0 ? null : text || `exit code ${code}`;
}

function printed(command: string, args: string[]): Promise<{ code: number | null; text: string }> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let text = "";
    child.stdout.on("data", (chunk: Buffer) => (text += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (text += chunk.toString()));
    child.once("error", ({ message }) => resolve({ code: null, text: `${message}: is all installed (npm ci)?` }));
    child.once("close", (code) => resolve({ code, text }));
  });
}

const asked = process.argv.slice(2);
const unknown = asked.find((each) => !CHECKS.some(({ name }) => name === each));
if (unknown !== undefined) {
  process.stderr.write(
    `There is no check "${unknown}": there are ${CHECKS.map(({ name }) => `"${name}"`).join(", ")}.\n`,
  );
  process.exit(2);
}

const failures = await Promise.all(
  CHECKS.filter(({ name }) => asked.length === 0 || asked.includes(name)).map(async ({ name, run }) => {
    const failure = await run();
    process.stdout.write(failure === null ? `check: ${name} ok\n` : `check: ${name} FAILED\n${failure}\n`);
    return failure;
  }),
);
if (failures.some((failure) => failure !== null)) process.exitCode = 1;
