import type { Database } from "@toolyard/storage";
import { partsOf } from "@toolyard/storage/parts.ts";
import type { TaskResults } from "./task-results.ts";

/** Each may have megabytes. */
const STEP_ROWS = 10;

/** Puts into the rows of tasks the results that are kept apart from them. */
export async function embedResults(database: Database, results: Pick<TaskResults, "read">): Promise<void> {
  const apart = await database.read.query<{ id: string; resultId: string }[]>(
    'SELECT "id", "resultId" FROM "tasks" WHERE "resultId" IS NOT NULL',
  );
  for (const rows of partsOf(apart, STEP_ROWS)) {
    const found = await results.read(rows.map(({ resultId }) => resultId));
    await database.transaction(async ({ manager }) => {
      for (const { id, resultId } of rows) {
        if (!found.has(resultId)) throw new Error(`The result of the task ${id} is not in MongoDB.`);
        await manager.query('UPDATE "tasks" SET "resultId" = NULL, "result" = ? WHERE "id" = ?', [
          JSON.stringify(found.get(resultId)),
          id,
        ]);
      }
    });
  }
}
