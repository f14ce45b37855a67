import { preconditionFailed } from "@toolyard/service-kit";
import type { MysqlOptions } from "../database.ts";
import { nameOfMigration } from "../migration.ts";
import { tablesOf } from "../tables.ts";
import { connectMysql, refuseNewer } from "./mysql-database.ts";

type Source = Awaited<ReturnType<typeof connectMysql>>;

/** The names of the migrations that were run on a store's tables, in order; none where there are none yet. */
export async function migrationsRun(options: MysqlOptions): Promise<string[]> {
  return onSource(options, async (source) => {
    const table = source.options.migrationsTableName ?? "";
    if (!(await hasTable(source, table))) return [];
    const rows = await source.query<{ name: string }[]>(`SELECT "name" FROM "${table}" ORDER BY "id"`);
    return rows.map(({ name }) => nameOfMigration(name));
  });
}

/** The tables of a store that have rows, but those that all stores share. */
export async function tablesWithRows(options: MysqlOptions): Promise<string[]> {
  return onSource(options, async (source) => {
    const found = [];
    for (const { name } of tablesOf(options.entities)) {
      if (name.endsWith("_counter") || name === "scheduled_jobs" || !(await hasTable(source, name))) continue;
      if ((await source.query<unknown[]>(`SELECT 1 FROM "${name}" LIMIT 1`)).length > 0) found.push(name);
    }
    return found;
  });
}

/**
 * Undoes the latest migration of a store; killed in between, it goes on when it is run again.
 * @throws ToolyardError PRECONDITION_FAILED when it has no way back, or a newer Toolyard made it
 */
export async function undoLastMigration(options: MysqlOptions): Promise<void> {
  const last = (await migrationsRun(options)).at(-1);
  if (options.migrations.find(({ name }) => name === last)?.undo === null)
    throw preconditionFailed("migration", `${last} of ${options.name} has no way back: restore a backup instead.`);
  await onSource(options, async (source) => {
    await refuseNewer(source, options.name);
    await source.undoLastMigration({ transaction: "each" });
  });
}

async function hasTable(source: Source, name: string): Promise<boolean> {
  const found = await source.query<unknown[]>(
    "SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?",
    [name],
  );
  return found.length > 0;
}

/** @throws ConfigError where the server cannot be used */
async function onSource<Result>(options: MysqlOptions, work: (source: Source) => Promise<Result>): Promise<Result> {
  const source = await connectMysql(options);
  try {
    return await work(source);
  } finally {
    await source.destroy();
  }
}
