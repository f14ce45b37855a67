import { basename, join } from "node:path";
import { preconditionFailed } from "@toolyard/service-kit";
import { openStore, storeOptions, type Database } from "@toolyard/storage";
import { copyDatabase } from "@toolyard/storage/backup.ts";
import { comparePart, copyPart, type Part, type PartTarget } from "@toolyard/storage/copying/part.ts";
import { tablePart, tableTarget } from "@toolyard/storage/copying/table-part.ts";
import { openSnapshot } from "@toolyard/storage/mysql/snapshot.ts";
import { storeMigrations } from "@toolyard/storage/store-migrations.ts";
import { tablesOf } from "@toolyard/storage/tables.ts";
import { sqlDocumentTarget } from "@toolyard/subgraph-knowledge/copying/document-part.sql.ts";
import { embedContents, fillTextIndex } from "@toolyard/subgraph-tools/copying/embedded-versions.sql.ts";
import { embedResults } from "@toolyard/tasks/embedded-results.sql.ts";
import { connectMongodb, fileOf, storesOf, type Installation } from "../installation.ts";
import type { Progress } from "./progress.ts";

/**
 * Makes of what servers keep the files that an installation without servers would have, also while processes run on them: of rows as of one moment, and
 * then of what they name in MongoDB, where it was written before them. Documents are as they are when they are read.
 * @returns the files' names
 * @throws ToolyardError PRECONDITION_FAILED where another version's tables are there
 */
export async function copyFromServers(options: {
  from: Installation;
  folder: string;
  progress: Progress;
  signal: AbortSignal;
}): Promise<string[]> {
  const { from, folder, progress, signal } = options;
  const to: Installation = { ...from, dataDir: folder, database: null, mongodb: null };
  await using opened = new AsyncDisposableStack();
  const open = async (store: Installation["stores"][number]): Promise<Database> => {
    const database = await openStore(to, store, { isAlone: true });
    opened.defer(() => database.close());
    return database;
  };
  const databases = new Map<string, Database>();
  const names: string[] = [];
  const copies: { from: Part; to: PartTarget }[] = [];
  if (from.database) {
    const snapshot = await openSnapshot(from.database);
    opened.defer(() => snapshot.close());
    for (const store of from.stores.filter(({ isEmbeddedOnly }) => !isEmbeddedOnly)) {
      await requireThisVersion(from, store);
      const database = await open(store);
      databases.set(store.name, database);
      names.push(`${store.name}.sqlite`);
      for (const table of tablesOf(store.entities))
        copies.push({
          from: tablePart(snapshot, store.name, table),
          to: tableTarget(database, store.name, table, null),
        });
    }
  }
  for (const store of storesOf(from)) {
    const file = fileOf(from, store);
    if (file === null || (store.isEmbeddedOnly && from.mongodb)) continue;
    copyDatabase(file, join(folder, basename(file)));
    databases.set(store.name, await open(store));
    names.push(basename(file));
  }
  const mongodb = from.mongodb && (await connectMongodb(from.mongodb));
  if (mongodb) opened.defer(() => mongodb.close());
  const documents = mongodb ? await documentsOf(mongodb) : null;
  let total = (await documents?.count()) ?? 0;
  for (const { from: part } of copies) total += await part.count();
  const work = { signal, done: progress.done };
  progress.begin("copied", total);
  for (const part of copies) await copyPart(part.from, part.to, work);
  const knowledge = from.stores.find(({ isEmbeddedOnly }) => isEmbeddedOnly);
  if (documents && knowledge) {
    await copyPart(documents, sqlDocumentTarget(await open(knowledge)), work);
    names.push(`${knowledge.name}.sqlite`);
  }
  progress.end();
  progress.begin("compared", total);
  for (const part of copies) await comparePart(part.from, part.to, work);
  progress.end();
  const [tools, tasks] = [databases.get("tools"), databases.get("tasks")];
  if (from.database && tools) await fillTextIndex(tools);
  if (mongodb) {
    const { createMongodbVersionContents } = await import("@toolyard/subgraph-tools/version-contents.mongodb.ts");
    const { createMongodbTaskResults } = await import("@toolyard/tasks/task-results.mongodb.ts");
    if (tools) await embedContents(tools, await createMongodbVersionContents(mongodb));
    if (tasks) await embedResults(tasks, await createMongodbTaskResults(mongodb));
  }
  return names;
}

async function documentsOf(mongodb: Awaited<ReturnType<typeof connectMongodb>>): Promise<Part> {
  const { mongodbDocumentPart } = await import("@toolyard/subgraph-knowledge/copying/document-part.mongodb.ts");
  return mongodbDocumentPart(mongodb);
}

async function requireThisVersion(from: Installation, store: Installation["stores"][number]): Promise<void> {
  const options = storeOptions(from, store);
  const run = await (await storeMigrations(options)).run();
  if (JSON.stringify(run) !== JSON.stringify(options.migrations.map(({ name }) => name)))
    throw preconditionFailed(
      "database-version",
      `The tables of ${store.name} are another version's of Toolyard, or none: run this command in the version that runs on them.`,
    );
}
