/** `npm run check`: types, lint, import directions, formatting, generated files. Prints what fails; silent otherwise but for a line each. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { findForbiddenImports } from "./import-directions.ts";

const root = join(import.meta.dirname, "..");
const bin = (name: string) => join(root, "node_modules", ".bin", name);

const CHECKS: { name: string; run: () => Promise<string | null> }[] = [
  { name: "types", run: () => output(bin("tsc"), ["--noEmit", "-p", "tsconfig.json"]) },
  { name: "lint", run: () => output(bin("oxlint"), ["--type-aware", "--deny-warnings", "--quiet"]) },
  { name: "formatting", run: () => output(bin("prettier"), ["--check", "--log-level", "warn", "."]) },
  { name: "generated files", run: () => output(process.execPath, ["scripts/generate.ts", "--check"]) },
  {
    name: "import directions",
    run: async () => {
      const found = findForbiddenImports(root);
      return found.length === 0 ? null : found.join("\n");
    },
  },
];

/** What a program printed when it failed; null when it did not. */
function output(command: string, args: string[]): Promise<string | null> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let text = "";
    child.stdout.on("data", (chunk: Buffer) => (text += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (text += chunk.toString()));
    child.once("error", reject);
    child.once("close", (code) => resolve(code === 0 ? null : text || `exit code ${code}`));
  });
}

const failures = await Promise.all(
  CHECKS.map(async ({ name, run }) => {
    const failure = await run();
    process.stdout.write(failure === null ? `check: ${name} ok\n` : `check: ${name} FAILED\n${failure}\n`);
    return failure;
  }),
);
if (failures.some((failure) => failure !== null)) process.exitCode = 1;
