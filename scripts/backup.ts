/** `npm run backup -- DIR`: all of DATA_DIR that cannot be made anew, also while Toolyard runs. docs/backup.md says how to restore it. */
import { resolve } from "node:path";
import { messageOf } from "@toolyard/service-kit";
import { backUp } from "@toolyard/storage/backup.ts";
import { requireBelonging } from "./copying/belonging.ts";
import { copyFromServers } from "./copying/copy-from-servers.ts";
import { createProgress } from "./copying/progress.ts";
import { readInstallation } from "./installation.ts";

const [target, ...others] = process.argv.slice(2);
const dataDir = process.env.DATA_DIR || "./data";
if (target === undefined || target.startsWith("-") || others.length > 0) {
  process.stderr.write(
    "Usage: npm run backup -- DIR\n\nDIR is a folder that is not there yet. DATA_DIR says what is backed up, with DATABASE_URL and MONGODB_URL where servers keep data.\n",
  );
  process.exit(1);
}
// An incomplete backup is removed: it has the key and the users in it.
const stopping = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.on(signal, () => stopping.abort(new Error("It was interrupted.")));
try {
  const say = (line: string) => void process.stdout.write(`${line}\n`);
  const from = await readInstallation();
  await requireBelonging(from);
  const { signal } = stopping;
  const fill = (folder: string) => copyFromServers({ from, folder, progress: createProgress(process.stderr), signal });
  const { names, leftOut, completeTo } = await backUp(
    dataDir,
    target,
    signal,
    say,
    from.database || from.mongodb ? fill : undefined,
  );
  say(`${resolve(target)} has a backup of ${resolve(dataDir)}: ${names.join(", ")}.`);
  say(`Every write that was acknowledged before ${completeTo} is in it.`);
  for (const sentence of leftOut) say(sentence);
  if (!names.includes("secret-key"))
    say("SECRET_KEY is not in it: keep it elsewhere: sealed values open only with it.");
} catch (error) {
  process.stderr.write(`No backup was made. ${messageOf(error)}\n`);
  process.exit(1);
}
