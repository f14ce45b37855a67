/**
 * `npm run migrate -- up|down|status|create NAME`: the schemas of DATA_DIR's databases, or of DATABASE_URL's. Toolyard migrates them itself when it starts; this is for
 * looking, for going back before an older version is started, and for writing migrations.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { createLogger, messageOf, preconditionFailed, prepareDataDir } from "@toolyard/service-kit";
import { openStore, storeOptions } from "@toolyard/storage";
import { storeMigrations } from "@toolyard/storage/store-migrations.ts";
import { UsageError } from "../cli/usage-error.ts";
import { alone, fileOf, readInstallation, type Installation } from "./installation.ts";
import { findSchemaDifferences, writeMigration } from "./store-schemas.ts";

const USAGE = `Usage: npm run migrate -- up | down [STORE] | status | create NAME

  up             Runs the migrations that are missing, as each start of Toolyard does. With --while-it-runs also while
                 Toolyard runs.
  down [STORE]   Undoes the latest migration of one store, such as tools, or of each. With --drop-data also the first,
                 and with it all that the store has.
  status         Says which migrations have been run, also while Toolyard runs.
  create NAME    Writes the SQL from the migrations' schema to the entities', and back, where they differ. NAME says
                 what it does, in a-z, 0-9 and -: add-tags.

DATA_DIR says whose, and DATABASE_URL where a server keeps them; up and down otherwise need Toolyard to be stopped. Back up before you go down: columns and tables of the
migration are dropped with what is in them.
`;

const root = join(import.meta.dirname, "..");
const say = (text: string) => void process.stdout.write(`${text}\n`);

// What reads the output may end before it, as `head` does; a migration goes on.
process.stdout.on("error", () => undefined);
try {
  const { positionals, values } = parsed();
  const [command, name, ...more] = positionals;
  if (values.help) say(USAGE);
  else if (more.length > 0) throw new UsageError(USAGE);
  else if (command === "create") await create(name);
  else if (command === "down") await onData((all) => down(all, name, values["drop-data"] ?? false));
  else if (name !== undefined) throw new UsageError(USAGE);
  else if (command === "status") await status(await readInstallation());
  else if (command === "up") await (values["while-it-runs"] ? upBesideOthers() : onData(up));
  else throw new UsageError(USAGE);
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}

/** While no process runs on it. */
async function onData(work: (installation: Installation) => Promise<void>): Promise<void> {
  const installation = await readInstallation();
  await alone(installation, () => work(installation));
}

function parsed() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        "drop-data": { type: "boolean" },
        "while-it-runs": { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
  } catch (error) {
    throw new UsageError(`${messageOf(error)}\n\n${USAGE}`);
  }
}

/** As a part of Toolyard does that starts. */
async function upBesideOthers(): Promise<void> {
  const installation = await readInstallation();
  await prepareDataDir(installation.dataDir, createLogger({ level: "warn", name: "migrate" }));
  await up(installation, { isAlone: false });
}

async function up(installation: Installation, { isAlone = true } = {}): Promise<void> {
  for (const store of installation.stores) {
    if (store.isEmbeddedOnly && installation.mongodb) continue;
    const { run } = await storeMigrations(storeOptions(installation, store));
    const before = await run();
    await (await openStore(installation, store, { isAlone })).close();
    const done = (await run()).filter((each) => !before.includes(each));
    say(`${store.name}: ${done.length === 0 ? "nothing to do" : `${done.join(", ")} done`}`);
  }
}

async function down(installation: Installation, name: string | undefined, dropData: boolean): Promise<void> {
  const { stores } = installation;
  const meant = name === undefined ? stores : stores.filter((store) => store.name === name);
  if (meant.length === 0)
    throw new UsageError(`There is no store ${name}: there are ${stores.map((store) => store.name).join(", ")}.`);
  const withLast = [];
  for (const store of meant) {
    const migrations = await storeMigrations(storeOptions(installation, store));
    withLast.push({ ...migrations, store, done: await migrations.run() });
  }
  // Before anything is undone.
  for (const { store, done, tablesWithRows } of withLast) {
    const lost = done.length === 1 && !dropData ? await tablesWithRows() : [];
    if (lost.length > 0)
      throw preconditionFailed(
        "data",
        `${done[0]} is the first migration of ${fileOf(installation, store) ?? `${store.name} in the database`}: undoing it drops all that is there ` +
          `(${lost.join(", ")}). Nothing was undone. Name another store, or say --drop-data.`,
      );
  }
  for (const { store, done, undoLast } of withLast) {
    const last = done.at(-1);
    if (last !== undefined) await undoLast();
    say(`${store.name}: ${last === undefined ? "nothing to undo" : `${last} undone`}`);
  }
}

async function status(installation: Installation): Promise<void> {
  const { dataDir, database, stores } = installation;
  if (database === null && !existsSync(dataDir))
    throw preconditionFailed("data-directory", `There is no ${dataDir}. Say by DATA_DIR where Toolyard's data is.`);
  for (const store of stores) {
    if (store.isEmbeddedOnly && installation.mongodb) {
      say(`${store.name}: MongoDB keeps it`);
      continue;
    }
    const options = storeOptions(installation, store);
    const run = await (await storeMigrations(options)).run();
    say(`${store.name}:`);
    for (const { name: each } of options.migrations) say(`  ${each}: ${run.includes(each) ? "done" : "to do"}`);
    for (const each of run.filter((one) => !options.migrations.some((known) => known.name === one)))
      say(`  ${each}: done by a newer Toolyard`);
  }
}

async function create(name: string | undefined): Promise<void> {
  if (name === undefined || !/^[a-z][a-z0-9-]{0,60}$/.test(name))
    throw new UsageError(
      "A migration has a name of a-z, 0-9 and -, that says what it does, as in:\n  npm run migrate -- create add-tags",
    );
  const mysqlUrl = process.env["TEST_MYSQL_URL"];
  const differences = await findSchemaDifferences(root, mysqlUrl);
  if (mysqlUrl === undefined)
    say(
      "MySQL's migrations are left out: say by TEST_MYSQL_URL where databases can be made for a moment, and repeat this.",
    );
  if (differences.length === 0) say("The migrations match the entities: nothing to write.");
  for (const difference of differences)
    say(`${writeMigration(root, difference, name).join(" and ")}: read them before you commit them.`);
}
