/**
 * `npm run migrate -- up|down|status|create NAME`: the schemas of DATA_DIR's databases. Toolyard migrates them itself when it starts; this is for
 * looking, for going back before an older version is started, and for writing migrations.
 */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { messageOf, preconditionFailed } from "@toolyard/service-kit";
import { lockFolder, openDatabase } from "@toolyard/storage";
import { migrationsRun, refuseOpened, tablesWithRows, undoLastMigration } from "@toolyard/storage/sqlite/migrate.ts";
import { UsageError } from "../cli/usage-error.ts";
import { findSchemaDifferences, readStores, writeMigration, type StoreSchema } from "./store-schemas.ts";

const USAGE = `Usage: npm run migrate -- up | down [STORE] | status | create NAME

  up             Runs the migrations that are missing, as each start of Toolyard does.
  down [STORE]   Undoes the latest migration of one store, such as tools, or of each. With --drop-data also the first,
                 and with it all that the store has.
  status         Says which migrations have been run, also while Toolyard runs.
  create NAME    Writes the SQL from the migrations' schema to the entities', and back, where they differ. NAME says
                 what it does, in a-z, 0-9 and -: add-tags.

DATA_DIR says whose; up and down need Toolyard to be stopped. Back up before you go down: columns and tables of the
migration are dropped with what is in them.
`;

const root = join(import.meta.dirname, "..");
const say = (text: string) => void process.stdout.write(`${text}\n`);

try {
  const { positionals, values } = parsed();
  const [command, name, ...more] = positionals;
  if (values.help) say(USAGE);
  else if (more.length > 0) throw new UsageError(USAGE);
  else if (command === "create") await create(name);
  else if (command === "down")
    await onData((stores, dataDir) => down(stores, dataDir, name, values["drop-data"] ?? false));
  else if (name !== undefined) throw new UsageError(USAGE);
  else if (command === "status") await status();
  else if (command === "up") await onData(up);
  else throw new UsageError(USAGE);
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}

function parsed() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: { "drop-data": { type: "boolean" }, help: { type: "boolean", short: "h" } },
    });
  } catch (error) {
    throw new UsageError(`${messageOf(error)}\n\n${USAGE}`);
  }
}

function dataDirectory(): string {
  const dataDir = resolve(root, process.env["DATA_DIR"] || "data");
  if (!existsSync(dataDir))
    throw preconditionFailed("data-directory", `There is no ${dataDir}. Say by DATA_DIR where Toolyard's data is.`);
  return dataDir;
}

/** Does something to the stores while no process runs on them. */
async function onData(work: (stores: StoreSchema[], dataDir: string) => Promise<void>): Promise<void> {
  const dataDir = dataDirectory();
  const lock = await lockFolder(dataDir, { waitMs: 0 });
  try {
    const stores = await readStores(root);
    // Parts that run alone, each on its own file, do not lock the folder.
    for (const { name } of stores) refuseOpened(join(dataDir, `${name}.sqlite`));
    await work(stores, dataDir);
  } finally {
    lock.release();
  }
}

async function up(stores: StoreSchema[], dataDir: string): Promise<void> {
  for (const { name, entities, migrations } of stores) {
    const file = join(dataDir, `${name}.sqlite`);
    const before = migrationsRun(file);
    await (await openDatabase({ file, entities, migrations })).close();
    const run = migrationsRun(file).filter((each) => !before.includes(each));
    say(`${name}: ${run.length === 0 ? "nothing to do" : `${run.join(", ")} done`}`);
  }
}

async function down(
  stores: StoreSchema[],
  dataDir: string,
  name: string | undefined,
  dropData: boolean,
): Promise<void> {
  const meant = name === undefined ? stores : stores.filter((store) => store.name === name);
  if (meant.length === 0)
    throw new UsageError(`There is no store ${name}: there are ${stores.map((store) => store.name).join(", ")}.`);
  const withLast = meant.map((store) => {
    const file = join(dataDir, `${store.name}.sqlite`);
    return { ...store, file, run: migrationsRun(file) };
  });
  // Before anything is undone.
  for (const { file, run } of withLast) {
    const lost = run.length === 1 && !dropData ? tablesWithRows(file) : [];
    if (lost.length > 0)
      throw preconditionFailed(
        "data",
        `${run[0]} is the first migration of ${file}: undoing it drops all that is there (${lost.join(", ")}). Nothing was ` +
          "undone. Name another store, or say --drop-data.",
      );
  }
  for (const { name: store, file, run, entities, migrations } of withLast) {
    const last = run.at(-1);
    if (last !== undefined) await undoLastMigration({ file, entities, migrations });
    say(`${store}: ${last === undefined ? "nothing to undo" : `${last} undone`}`);
  }
}

async function status(): Promise<void> {
  const dataDir = dataDirectory();
  for (const { name, migrations } of await readStores(root)) {
    const run = migrationsRun(join(dataDir, `${name}.sqlite`));
    say(`${name}:`);
    for (const { name: each } of migrations) say(`  ${each}: ${run.includes(each) ? "done" : "to do"}`);
    for (const each of run.filter((one) => !migrations.some((known) => known.name === one)))
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
