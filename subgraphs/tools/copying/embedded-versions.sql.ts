import type { Database } from "@toolyard/storage";
import { CHUNK_ROWS, partsOf } from "@toolyard/storage";
import type { VersionContents } from "../version-contents.ts";

/** Makes the full-text tables of a file to which rows were copied, as the migrations make them. */
export async function fillTextIndex(database: Database): Promise<void> {
  await database.transaction(async ({ manager }) => {
    for (const [table, which] of [
      ["tool_index", "NOT deleted"],
      ["deleted_tool_index", "deleted"],
    ]) {
      await manager.query(
        `INSERT INTO ${table} (rowid, text) SELECT "position", "text" FROM "tool_texts" WHERE ${which} ORDER BY "position"`,
      );
      await manager.query(`INSERT INTO ${table} (${table}) VALUES ('optimize')`);
    }
  });
}

/** Puts into the rows of versions what is kept apart from them. */
export async function embedContents(database: Database, contents: Pick<VersionContents, "read">): Promise<void> {
  const apart = await database.read.query<{ id: string; contentId: string }[]>(
    'SELECT "id", "contentId" FROM "tool_versions" WHERE "contentId" IS NOT NULL',
  );
  for (const rows of partsOf(apart, CHUNK_ROWS)) {
    const found = await contents.read(rows.map(({ contentId }) => contentId));
    await database.transaction(async ({ manager }) => {
      for (const { id, contentId } of rows) {
        const content = found.get(contentId);
        if (!content) throw new Error(`The content of the version ${id} is not in MongoDB.`);
        const { name, description, tags, launch, configSchema, changeSummary } = content;
        await manager.query(
          'UPDATE "tool_versions" SET "contentId" = NULL, "name" = ?, "description" = ?, "tags" = ?, "launch" = ?, "configSchema" = ?, "changeSummary" = ? WHERE "id" = ?',
          [
            name,
            description,
            JSON.stringify(tags),
            JSON.stringify(launch),
            configSchema === null ? null : JSON.stringify(configSchema),
            changeSummary,
            id,
          ],
        );
      }
    });
  }
}
