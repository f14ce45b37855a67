import { readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { preconditionFailed } from "@toolyard/service-kit";
import LibsqlDatabase from "libsql";
import type { DataSource, EntityManager } from "typeorm";
import { createMigrations, nameOfMigration, type Migration } from "../migration.ts";

// The file of this package, which has a version.
const { version } = JSON.parse(readFileSync(join(import.meta.dirname, "../package.json"), "utf8")) as {
  version: string;
};

/**
 * Older code would misread tables that newer code changed, or fail halfway.
 * @throws ToolyardError PRECONDITION_FAILED naming both
 */
export function refuseNewer({ file, migrations }: { file: string; migrations: readonly Migration[] }): void {
  const database = new LibsqlDatabase(file);
  try {
    const isKept = database.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'migrations'").get();
    if (isKept === undefined) return;
    const known = new Set(createMigrations([...migrations]).map((Made) => new Made().name));
    // TypeORM's own table.
    const run = database.prepare('SELECT "name" FROM "migrations" ORDER BY "id"').all() as { name: string }[];
    const unknown = run.findLast(({ name }) => !known.has(name ?? ""));
    if (unknown === undefined) return;
    const by = versionOf((database.prepare("PRAGMA user_version").get() as { user_version: number }).user_version);
    throw preconditionFailed(
      "database-version",
      `${basename(file)} in ${dirname(file)} (DATA_DIR) was migrated by a newer Toolyard (${by}, migration ${nameOfMigration(unknown.name)}) than this one ` +
        `(${version}, which knows them up to ${migrations.at(-1)?.name ?? "none"}). Nothing was changed. Start the newer one again, or ` +
        "restore a backup from before the upgrade.",
    );
  } finally {
    database.close();
  }
}

/** Leaves the version of the newest Toolyard that wrote to this file, for an older one to tell. */
export async function noteVersion(writer: DataSource): Promise<void> {
  const [found] = (await writer.query("PRAGMA user_version")) as { user_version: number }[];
  const own = numberOf(version);
  if (own > (found?.user_version ?? 0)) await writer.query(`PRAGMA user_version = ${own}`);
}

/** Writes what is there already. */
export async function touch(manager: EntityManager): Promise<void> {
  const [found] = await manager.query<{ user_version: number }[]>("PRAGMA user_version");
  await manager.query(`PRAGMA user_version = ${found?.user_version ?? 0}`);
}

function numberOf(text: string): number {
  return text.split(".").reduce((sum, part) => sum * 1_000 + Number.parseInt(part, 10), 0);
}

function versionOf(number: number): string {
  return [1_000_000, 1_000, 1].map((unit) => Math.floor(number / unit) % 1_000).join(".");
}
