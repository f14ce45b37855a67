import { newId } from "@toolyard/service-kit";
import { createLogger } from "@toolyard/service-kit/process/log.ts";
import { openDatabase, readMigrations } from "@toolyard/storage";
import { comparePart, copyPart } from "@toolyard/storage/copying/part.ts";
import { describeOnMongodb, ownMongodb } from "@toolyard/testing/mongodb.ts";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { entities, migrationsFolder } from "../database.ts";
import { createMongodbDocumentStore } from "../document-store.mongodb.ts";
import { createSqlDocumentStore } from "../document-store.sql.ts";
import type { DocumentStore } from "../document-store.ts";
import { parseSearchQuery } from "../search-query.ts";
import { mongodbDocumentTarget } from "./document-part.mongodb.ts";
import { sqlDocumentPart, sqlDocumentTarget } from "./document-part.sql.ts";

const logger = createLogger({ level: "silent", name: "test" });
const work = { signal: new AbortController().signal, done: () => undefined };

describeOnMongodb("documents copied between SQLite and MongoDB", () => {
  test("are the same there and back, are found by the same words, and are copied once however often that ends", async () => {
    const folder = await mkdtemp(join(tmpdir(), "toolyard-documents-"));
    const mongodb = ownMongodb();
    const open = (name: string) =>
      openDatabase({ file: join(folder, name), entities, migrations: readMigrations(migrationsFolder) });
    const [first, second] = [await open("first.sqlite"), await open("second.sqlite")];
    const stores: DocumentStore[] = [];
    onTestFinished(async () => {
      for (const store of stores) await store.close();
      for (const database of [first, second]) await database.close();
      await mongodb.close();
      await rm(folder, { recursive: true });
    });
    const opened = async (store: Promise<DocumentStore>) => {
      stores.push(await store);
      return store;
    };
    const original = await opened(createSqlDocumentStore({ database: first, logger }));
    for (let index = 0; index < 25; index += 1) {
      const contentType = index % 3 === 0 ? "text/html" : "text/plain";
      const document = {
        id: newId(),
        title: `Storm ${index} Ünïcode`,
        contentType,
        tags: ["b", "a", `t${index}`],
        metadata: index % 2 === 0 ? { z: [0.1, null], a: "ä" } : null,
        toolId: index % 4 === 0 ? newId() : null,
        uploadedById: null,
        createdAt: 1_700_000_000_000 + index,
        updatedAt: 1_800_000_000_000 + index,
      };
      const content = `<p>Sailors generate <b>reports</b> number${index}.</p>`;
      expect(await original.insert(document, { content, encoding: "TEXT" }, null)).toMatchObject({ id: document.id });
    }
    const ask = async (store: DocumentStore) => {
      const found = store.search(
        parseSearchQuery("genera* report"),
        { toolIds: null, tag: null },
        { limit: 50, offset: 0 },
        null,
      );
      const rows = await found.rows();
      return { count: await found.totalCount(), ids: rows.map(({ documentId }) => documentId).toSorted() };
    };
    const before = await ask(original);
    expect(before.count).toBe(25);

    const connection = await mongodb.open();
    const onServer = await mongodbDocumentTarget(connection);
    const from = sqlDocumentPart(first);
    const stopping = new AbortController();
    const half = copyPart(from, onServer, { signal: stopping.signal, done: () => stopping.abort(new Error("enough")) });
    await expect(half).rejects.toThrow("enough");
    expect(await onServer.count()).toBe(10);
    for (let time = 0; time < 2; time += 1) await copyPart(from, onServer, work);
    await comparePart(from, onServer, work);
    expect(await ask(await opened(createMongodbDocumentStore({ mongodb: connection, logger })))).toEqual(before);

    const back = sqlDocumentTarget(second);
    await copyPart(onServer, back, work);
    await comparePart(from, back, work);
    expect(await ask(await opened(createSqlDocumentStore({ database: second, logger })))).toEqual(before);

    await connection.connection.db
      ?.collection("knowledge_contents")
      .updateOne({ title: "Storm 3 Ünïcode" }, { $set: { text: "other" } });
    await expect(comparePart(from, onServer, work)).rejects.toThrow(
      /knowledge\.documents has 25 rows, as its copy, but not all are the same/,
    );
  });
});
