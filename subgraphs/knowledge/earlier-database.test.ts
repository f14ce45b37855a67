import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogger } from "@toolyard/service-kit";
import { openDatabase, readMigrations } from "@toolyard/storage";
import LibsqlDatabase from "libsql";
import { expect, test } from "vitest";
import { entities, migrationsFolder } from "./database.ts";
import { createSqlDocumentStore } from "./document-store.sql.ts";
import { parseSearchQuery } from "./search-query.ts";

test("documents that an earlier version stored are found as new ones are, and change and go as they do", async () => {
  const folder = await mkdtemp(join(tmpdir(), "toolyard-knowledge-"));
  try {
    const file = join(folder, "knowledge.sqlite");
    const migrations = readMigrations(migrationsFolder);
    await (await openDatabase({ file, entities, migrations: migrations.slice(0, 2) })).close();
    const earlier = new LibsqlDatabase(file);
    for (const [id, text] of [
      ["long", `${"filler ".repeat(3_000)}the needle itself ${"filler ".repeat(3_000)}`],
      ["short", "a needle itself"],
    ]) {
      earlier
        .prepare(
          `INSERT INTO documents (id, title, contentType, size, digest, tags, createdAt, updatedAt)
           VALUES (?, 'Old', 'text/plain', 1, 'd', '[]', 1, 1)`,
        )
        .run(id);
      const { lastInsertRowid } = earlier
        .prepare("INSERT INTO document_texts (documentId, title, text) VALUES (?, 'Old', ?)")
        .run(id, text);
      for (const table of ["document_index", "document_words"])
        earlier.prepare(`INSERT INTO ${table} (rowid, title, text) VALUES (?, 'Old', ?)`).run(lastInsertRowid, text);
    }
    earlier.close();

    const database = await openDatabase({ file, entities, migrations });
    const store = await createSqlDocumentStore({
      database,
      logger: createLogger({ level: "silent", name: "test" }),
    });
    const find = (query: string) =>
      store.search(parseSearchQuery(query), { toolIds: null, tag: null }, { limit: 10, offset: 0 }, "u").rows();
    try {
      for (const query of ["needles old", '"needle itself"', "needl*"]) {
        const hits = await find(query);
        expect(hits.map(({ documentId }) => documentId).toSorted(), query).toEqual(["long", "short"]);
        for (const { snippet } of hits) expect(snippet).toContain("⟦needle");
      }
      await store.update("long", { updatedAt: 2 }, { content: "nothing of it", encoding: "TEXT" }, "u");
      expect((await find("needle")).map(({ documentId }) => documentId)).toEqual(["short"]);
      await store.delete("short", "u");
      expect(await find("needle")).toEqual([]);
    } finally {
      await store.close();
      await database.close();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
