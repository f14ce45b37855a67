/** `npm run migrate:data`: what DATA_DIR has in files, to the MySQL of DATABASE_URL and the MongoDB of MONGODB_URL. docs/moving-data.md says more. */
import { existsSync } from "node:fs";
import { mkdir, readFile, readdir, rename, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { messageOf, newId, preconditionFailed } from "@toolyard/service-kit";
import { givenSecretKey, parseSecretKeys } from "@toolyard/service-kit/process/process-config.ts";
import { ASIDE, COPY_ID, requireSameKey, storeOptions } from "@toolyard/storage";
import { rowsOf } from "@toolyard/storage/backup-manifest.ts";
import { storeMigrations } from "@toolyard/storage/store-migrations.ts";
import { tablesOf } from "@toolyard/storage/tables.ts";
import { UsageError } from "../cli/usage-error.ts";
import { beforeMove, beginBelonging, noteBelonging, requireBelonging } from "./copying/belonging.ts";
import { copyToServers } from "./copying/copy-to-servers.ts";
import { createProgress } from "./copying/progress.ts";
import { alone, fileOf, readInstallation, storesOf, type Installation } from "./installation.ts";

const USAGE = `Usage: npm run migrate:data [-- --dry-run]

Copies what DATA_DIR has in files to the MySQL or MariaDB of DATABASE_URL, and documents to the MongoDB of MONGODB_URL, where these are
set; compares all of it, and puts the files aside. Toolyard is to be stopped, and the servers' databases are to be empty. Killed or
interrupted, it goes on when it is run again; Toolyard starts on neither meanwhile.

  --dry-run    Says what would be copied, also while Toolyard runs, and changes nothing.
`;

/** What no server keeps. */
const STAYING: Record<string, string> = {
  "secret-key": "the key that opens what is sealed: another host needs the same, as SECRET_KEY",
  "admin-password": "the first administrator's password",
  "host-id": "this host's name among those that share the database: its replicas go on by it",
  homes: "home folders of replicas",
  replicas: "running replicas and their logs",
  proxy: "the proxy's routes, and usage that it has not told yet",
  cache: "packages that were fetched",
};

const say = (line: string) => void process.stdout.write(`${line}\n`);
const progress = createProgress(process.stderr);
const stopping = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const)
  process.on(name, () => stopping.abort(new Error("It was interrupted: run it again, and it goes on.")));
try {
  const { values } = parsed();
  if (values.help) say(USAGE);
  else await run(values["dry-run"] ?? false);
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}

function parsed() {
  try {
    return parseArgs({ options: { "dry-run": { type: "boolean" }, help: { type: "boolean", short: "h" } } });
  } catch (error) {
    throw new UsageError(`${messageOf(error)}\n\n${USAGE}`);
  }
}

async function run(isDry: boolean): Promise<void> {
  const to = await readInstallation();
  const { dataDir, database, mongodb } = to;
  if (database === null && mongodb === null)
    throw new UsageError(`Where to? Say it by DATABASE_URL, MONGODB_URL or both.\n\n${USAGE}`);
  const from = { ...to, database: null, mongodb: null };
  const moved = storesOf(from).filter(({ isEmbeddedOnly }) => (isEmbeddedOnly ? mongodb : database) !== null);
  if (moved.length === 0)
    throw preconditionFailed(
      "data-directory",
      existsSync(join(dataDir, ASIDE))
        ? `Nothing is left to copy: the files of ${dataDir} were copied before, and are in ${join(dataDir, ASIDE)}.`
        : `There is nothing to copy in ${dataDir}. Say by DATA_DIR where Toolyard's data is.`,
    );
  const files = moved.map((store) => fileOf(from, store)).filter((file) => file !== null);
  refuseNewBesideMoved(to, files);
  if (isDry) {
    await requireBelonging(beforeMove(from, to));
    return foretell(to, moved, files);
  }
  await alone(to, async () => {
    await holdKey(to);
    await beginBelonging(from, to);
    const source = await copyIdOf(dataDir);
    await copyToServers({ from, to, source, progress, signal: stopping.signal });
    await noteBelonging(to);
    await mkdir(join(dataDir, ASIDE), { recursive: true, mode: 0o700 });
    for (const file of files) await rename(file, join(dataDir, ASIDE, basename(file)));
  });
  say("All of it is on the servers, and was compared there, row by row.");
  say(`The files are in ${join(dataDir, ASIDE)} now: keep them until you trust the servers' backups.`);
  await sayWhatStays(dataDir);
  say(`Start Toolyard on the same DATA_DIR with ${namesOf(to)} set: npm start`);
}

/** Others may not start there with another key: it would open nothing of what is copied. @throws ConfigError where they did */
async function holdKey(to: Installation): Promise<void> {
  if (givenSecretKey(process.env) === null && !existsSync(join(to.dataDir, "secret-key"))) return;
  await requireSameKey({ ...to, isAlone: true }, await parseSecretKeys(process.env)(to.dataDir));
}

/** @throws ToolyardError PRECONDITION_FAILED where an earlier copy ended, and other files were made since: they are not what is on the servers */
function refuseNewBesideMoved(to: Installation, files: readonly string[]): void {
  const aside = join(to.dataDir, ASIDE);
  const others = files.map((file) => basename(file)).filter((name) => existsSync(join(aside, name)));
  if (others.length > 0)
    throw preconditionFailed(
      "data-directory",
      `The data of ${to.dataDir} was copied to servers before, and ${others.join(", ")} there came after that, as by a start without ${namesOf(to)}. ` +
        `What was copied is in ${aside}. Nothing was copied or moved now. To go on with the servers, move the new files out of ${to.dataDir} and start ` +
        `Toolyard. To copy the new files instead, move ${aside} and ${join(to.dataDir, COPY_ID)} elsewhere, and name empty databases.`,
    );
}

async function foretell(to: Installation, moved: Installation["stores"], files: readonly string[]): Promise<void> {
  let sum = 0;
  for (const [index, { name, entities }] of moved.entries()) {
    const rows = rowsOf(files[index] ?? "");
    for (const { name: table } of tablesOf(entities)) {
      sum += rows[table] ?? 0;
      say(`${name}.${table}: ${rows[table] ?? 0} rows`);
    }
  }
  say(`${sum} rows of ${moved.length} files would be copied to the servers of ${namesOf(to)}.`);
  if (to.database === null) return;
  const there = [];
  for (const store of to.stores.filter(({ isEmbeddedOnly }) => !isEmbeddedOnly))
    there.push(...(await (await storeMigrations(storeOptions(to, store))).tablesWithRows()));
  if (there.length > 0) say(`The database of DATABASE_URL is not empty: ${there.join(", ")} have rows.`);
}

function namesOf({ database, mongodb }: Installation): string {
  return [...(database ? ["DATABASE_URL"] : []), ...(mongodb ? ["MONGODB_URL"] : [])].join(" and ");
}

async function copyIdOf(dataDir: string): Promise<string> {
  const file = join(dataDir, COPY_ID);
  if (!existsSync(file)) await writeFile(file, `${newId()}\n`, { mode: 0o600, flush: true });
  return (await readFile(file, "utf8")).trim();
}

async function sayWhatStays(dataDir: string): Promise<void> {
  say(`${dataDir} keeps what no server does:`);
  const names = await readdir(dataDir);
  for (const [name, what] of Object.entries(STAYING)) if (names.includes(name)) say(`  ${name}: ${what}`);
}
