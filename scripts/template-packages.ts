/** Prints the packages that templates of this Toolyard run, named by their ids, for deploy/runner/runner.Dockerfile: `npm:NAME@VERSION` or `pypi:NAME==VERSION`. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { readTemplate, TEMPLATE_ENDING } from "@toolyard/subgraph-tools/templates/template-file.ts";

const FOLDER = join(import.meta.dirname, "../templates");

/** Null where it runs no package of one version by npx or uvx. */
function packageOf(id: string): string | null {
  const file = id + TEMPLATE_ENDING;
  const read = readTemplate(file, readFileSync(join(FOLDER, file), "utf8"));
  if (!("template" in read) || read.template.launch.kind !== "stdio") return null;
  const { command, args } = read.template.launch;
  const [, name, version] = /^(@?[^@]+)@([\w.+-]+)$/.exec(args.find((arg) => !arg.startsWith("-")) ?? "") ?? [];
  if (version === undefined || (command !== "npx" && command !== "uvx")) return null;
  return command === "npx" ? `npm:${name}@${version}` : `pypi:${name}==${version}`;
}

for (const id of process.argv.slice(2)) {
  const found = packageOf(id);
  if (found === null) throw new Error(`The template ${id} runs no package of one version by npx or uvx.`);
  process.stdout.write(`${found}\n`);
}
