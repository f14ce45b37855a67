import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogger } from "@toolyard/service-kit";
import { openDatabase, readMigrations } from "@toolyard/storage";
import { afterAll, beforeAll, expect, test } from "vitest";
import { entities, migrationsFolder } from "../database.ts";
import { createWorkerClient } from "./worker-client.ts";

let folder: string;
let file: string;
const logger = createLogger({ level: "silent", name: "test" });
const all = { filter: { toolId: null, tag: null }, limit: 10, offset: 0 };
const wordQuery = (text: string) => ({ terms: [{ text, prefix: false }], excluded: [] });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "toolyard-worker-"));
  file = join(folder, "knowledge.sqlite");
  await (await openDatabase({ file, entities, migrations: readMigrations(migrationsFolder) })).close();
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const documentWith = (id: string) => ({
  id,
  title: id,
  contentType: "text/plain",
  tags: [],
  metadata: null,
  toolId: null,
  uploadedById: null,
  createdAt: 1,
  updatedAt: 1,
});

test("what was asked before the close is still answered; after it nothing is taken", async () => {
  const client = createWorkerClient({ file, logger });
  const inserts = ["a", "b", "c"].map((id) =>
    client.run("insert", { document: documentWith(id), content: { content: "closing", encoding: "TEXT" } }),
  );
  await client.close();
  expect(await Promise.all(inserts)).toMatchObject([{ id: "a" }, { id: "b" }, { id: "c" }]);
  await expect(client.run("delete", { id: "a" })).rejects.toThrow("closed");
});

test("a job that fails leaves nothing half done, and the next is done", async () => {
  const client = createWorkerClient({ file, logger });
  const insert = (content: string) =>
    client.run("insert", { document: documentWith("twice"), content: { content, encoding: "TEXT" } });
  await insert("original");
  await expect(insert("duplicate")).rejects.toThrow("UNIQUE");
  expect(await client.run("search", { query: wordQuery("duplicate"), ...all })).toMatchObject({ totalCount: 0 });
  expect(await client.run("search", { query: wordQuery("original"), ...all })).toMatchObject({ totalCount: 1 });
  await client.close();
});

test("a job that takes longer than the deadline is given up, and another thread does the next", async () => {
  const client = createWorkerClient({ file, logger, deadlineMs: 3_000 });
  await client.run("search", { query: wordQuery("warm"), ...all });
  const blocker = await openDatabase({ file, entities, migrations: readMigrations(migrationsFolder) });
  try {
    await blocker.transaction(async ({ manager }) => {
      await manager.query("DELETE FROM document_tags WHERE documentId = 'none'");
      // The write lock is held here: the worker waits for it longer than it may.
      await expect(client.run("delete", { id: "none" })).rejects.toMatchObject({ code: "TIMEOUT" });
    });
    expect(await client.run("delete", { id: "none" })).toBe(false);
  } finally {
    await blocker.close();
    await client.close();
  }
});
