import type { Database } from "@toolyard/storage";
import { insertRaw, tablePart } from "@toolyard/storage/copying/table-part.ts";
import type { Part, PartTarget } from "@toolyard/storage/copying/part.ts";
import { tablesOf, type Row } from "@toolyard/storage/tables.ts";
import type { EntityManager, EntitySchema } from "typeorm";
import { documentEntity, documentOriginalEntity, documentTagEntity } from "../database.ts";
import { PAGE_DOCUMENTS, PART, type DocumentRow } from "./document-row.ts";

const [documents, tags, originals] = tablesOf([
  documentEntity,
  documentTagEntity,
  documentOriginalEntity,
] as EntitySchema[]) as [Table, Table, Table]; // one for each

type Table = ReturnType<typeof tablesOf>[number];

/** The documents of a file. */
export function sqlDocumentPart({ read }: Pick<Database, "read">): Part {
  const amend = async (rows: Row[]): Promise<Row[]> => {
    const given = JSON.stringify(rows.map(({ id }) => id));
    const texts = await read.query<{ documentId: string; text: string; original: string | null }[]>(
      `SELECT kept."documentId", kept."text", own."content" AS "original" FROM "document_texts" kept
       LEFT JOIN "document_originals" own ON own."documentId" = kept."documentId"
       WHERE kept."documentId" IN (SELECT value FROM json_each(?))`,
      [given],
    );
    const byId = new Map(texts.map(({ documentId, text, original }) => [documentId, { text, original }]));
    return rows.map((row) => ({ ...row, ...(byId.get(String(row["id"])) ?? { text: "", original: null }) }));
  };
  return { ...tablePart(read, "knowledge", documents, { amend, pageRows: PAGE_DOCUMENTS }), name: PART };
}

/** A file to be filled with documents; it is searched once Toolyard has started on it, which makes the index. */
export function sqlDocumentTarget(database: Database): PartTarget {
  return {
    ...sqlDocumentPart(database),
    reached: async () => null,
    add: (rows) =>
      database.transaction(async ({ manager }) => {
        // As `sqlDocumentPart` and the one of MongoDB make them.
        for (const row of rows as DocumentRow[]) await addDocument(manager, row);
      }),
  };
}

async function addDocument(manager: EntityManager, row: DocumentRow): Promise<void> {
  const { id, title, text, original } = row;
  await insertRaw(manager, documents, [row]);
  await insertRaw(
    manager,
    tags,
    (JSON.parse(row.tags) as string[]).map((tag) => ({ documentId: id, tag })),
  );
  if (original !== null) await insertRaw(manager, originals, [{ documentId: id, content: original }]);
  await manager.query('INSERT INTO "document_texts" ("documentId", "title", "text") VALUES (?, ?, ?)', [
    id,
    title,
    text,
  ]);
  const [added] = await manager.query<{ id: number }[]>('SELECT "id" FROM "document_texts" WHERE "documentId" = ?', [
    id,
  ]);
  await manager.query('INSERT INTO "document_words" (rowid, "title", "text") VALUES (?, ?, ?)', [
    added?.id,
    title,
    text,
  ]);
  await manager.query('INSERT INTO "unindexed_texts" ("id") VALUES (?)', [added?.id]);
}
