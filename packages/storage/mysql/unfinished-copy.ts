import { preconditionFailed } from "@toolyard/service-kit";
import type { DataSource } from "typeorm";

/** Of copies into this database: `npm run migrate:data`, `restore`. */
export const COPY_TABLE = "toolyard_copy";

/** @throws ToolyardError PRECONDITION_FAILED where not all that is copied into the database is there yet */
export async function refuseUnfinishedCopy(source: DataSource): Promise<void> {
  const tables = await source.query<unknown[]>(
    "SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?",
    [COPY_TABLE],
  );
  if (tables.length === 0) return;
  const names = (
    await source.query<{ name: string }[]>(`SELECT "name" FROM ${COPY_TABLE} WHERE "name" IN ('source', 'done')`)
  ).map(({ name }) => name);
  if (names.includes("source") && !names.includes("done"))
    throw preconditionFailed(
      "database",
      "The database of DATABASE_URL has a part of what is copied into it. Run `npm run migrate:data` again: it goes on until all is there. What `npm run restore` has begun is begun again in an empty database.",
    );
}
