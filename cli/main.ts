/** `npm run toolyard -- COMMAND`. npm starts it in Toolyard's folder and gives the user's working directory in INIT_CWD. */
import { join } from "node:path";
import { runCommandLine } from "./command-line.ts";
import { createTerminal } from "./terminal.ts";

const interrupted = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    interrupted.abort();
    // A second one ends it in any case.
    process.once(signal, () => process.exit(130));
  });
}
// As `toolyard list | head -1` does.
process.stdout.on("error", () => process.exit(0));
process.exitCode = await runCommandLine({
  argv: process.argv.slice(2),
  env: process.env,
  folder: process.env["INIT_CWD"] ?? process.cwd(),
  root: join(import.meta.dirname, ".."),
  terminal: createTerminal(process),
  signal: interrupted.signal,
});
