import type { MongodbConnection } from "@toolyard/mongodb";
import { messageOf, preconditionFailed } from "@toolyard/service-kit";
import { openStore, type Database } from "@toolyard/storage";
import { createCopyMarks, type CopyMarks } from "@toolyard/storage/copying/copy-marks.ts";
import { splitPart, type Apart } from "@toolyard/storage/copying/apart.ts";
import { comparePart, copyPart, type Part, type PartTarget } from "@toolyard/storage/copying/part.ts";
import { replacingTarget, tablePart, tableTarget } from "@toolyard/storage/copying/table-part.ts";
import { tablesOf, type Row, type Table } from "@toolyard/storage/tables.ts";
import { sqlDocumentPart } from "@toolyard/subgraph-knowledge/copying/document-part.sql.ts";
import { connectMongodb, storesOf, type Installation } from "../installation.ts";
import { mongodbMarks } from "./mongodb.ts";
import type { Progress } from "./progress.ts";

/** A server that is filled: its parts, and what it knows of that. */
interface Filled {
  where: string;
  marks: Pick<CopyMarks, "state" | "begin" | "end">;
  parts: { from: Part; to: PartTarget }[];
  /** What goes to MongoDB of its rows, and first. */
  contents: { from: Part; to: PartTarget }[];
}

/**
 * Copies what is in an installation's files to the servers of another's, and compares all of it at the end: killed at any moment, it goes on when it is
 * run again, and no process starts on the database before it is done. Both are this process's alone.
 * @param options.source A name of what is copied, by which another one is told from it
 * @returns whether anything was to do; nothing where the servers have it all since an earlier run, and nothing else is in the files
 * @throws ToolyardError PRECONDITION_FAILED where a server or the files have something else, or what was compared differs
 */
export async function copyToServers(options: {
  from: Installation;
  to: Installation;
  source: string;
  progress: Progress;
  signal: AbortSignal;
}): Promise<boolean> {
  const { from, to, source, progress, signal } = options;
  await using opened = new AsyncDisposableStack();
  const filled = await openServers(from, to, opened);
  const unfinished: Filled[] = [];
  for (const server of filled) {
    if (await isToDo(server, source)) unfinished.push(server);
    else await requireCopied(server, progress, signal);
  }
  for (const { marks } of unfinished) await marks.begin(source);
  const parts = unfinished.flatMap((server) => [...server.contents, ...server.parts]);
  let total = 0;
  for (const { from: part } of parts) total += await part.count();
  const work = { signal, done: progress.done };
  progress.begin("copied", total);
  for (const part of parts) await copyPart(part.from, part.to, work);
  progress.end();
  progress.begin("compared", total);
  for (const part of parts) await comparePart(part.from, part.to, work);
  progress.end();
  // The database last: it is by its mark that no process starts.
  for (const { marks } of unfinished.toReversed()) await marks.end(Date.now());
  return unfinished.length > 0;
}

/** The servers with what goes there, the database first. */
async function openServers(from: Installation, to: Installation, opened: AsyncDisposableStack): Promise<Filled[]> {
  const open = async (installation: Installation, store: Installation["stores"][number]): Promise<Database> => {
    const database = await openStore(installation, store, { isAlone: true });
    opened.defer(() => database.close());
    return database;
  };
  const servers: Filled[] = [];
  const files = storesOf(from);
  const mongodb = to.mongodb && (await connectMongodb(to.mongodb));
  if (mongodb) opened.defer(() => mongodb.close());
  if (to.database) {
    let marks: CopyMarks | null = null;
    const parts: Filled["parts"] = [];
    const contents: Filled["contents"] = [];
    const apart = mongodb ? await apartIn(mongodb) : {};
    const shared = { table: null as Table | null, from: [] as Database[], to: null as Database | null };
    // All of them, so that each has its tables.
    for (const store of to.stores.filter(({ isEmbeddedOnly }) => !isEmbeddedOnly)) {
      const target = await open(to, store);
      marks ??= await createCopyMarks(target);
      if (!files.includes(store)) continue;
      const database = await open(from, store);
      for (const table of tablesOf(store.entities)) {
        if (table.name === SHARED) {
          shared.table = table;
          shared.from.push(database);
          shared.to = target;
          continue;
        }
        const part = tablePart(database.read, store.name, table);
        const elsewhere = apart[part.name];
        const split = elsewhere && splitPart(part, elsewhere);
        if (split) contents.push(split.contents);
        parts.push({ from: split?.rows ?? part, to: tableTarget(target, store.name, table, marks) });
      }
    }
    if (shared.table && shared.to) parts.push(sharedTable(shared.table, shared.from, shared.to));
    if (marks) servers.push({ where: "the database of DATABASE_URL", marks, parts, contents });
  }
  const knowledge = files.find(({ isEmbeddedOnly }) => isEmbeddedOnly);
  if (mongodb && knowledge) {
    const { mongodbDocumentTarget } = await import("@toolyard/subgraph-knowledge/copying/document-part.mongodb.ts");
    const part = { from: sqlDocumentPart(await open(from, knowledge)), to: await mongodbDocumentTarget(mongodb) };
    servers.push({ where: "the MongoDB of MONGODB_URL", marks: mongodbMarks(mongodb), parts: [part], contents: [] });
  }
  return servers;
}

/** The parts of which MongoDB keeps some columns. */
async function apartIn(mongodb: MongodbConnection): Promise<Record<string, Apart>> {
  const { mongodbContentsApart } = await import("@toolyard/subgraph-tools/version-contents.mongodb.ts");
  const { mongodbResultsApart } = await import("@toolyard/tasks/task-results.mongodb.ts");
  return {
    "tools.tool_versions": await mongodbContentsApart(mongodb),
    "tasks.tasks": await mongodbResultsApart(mongodb),
  };
}

/** Each store has it in its own file; on a server it is one. */
const SHARED = "scheduled_jobs";

function sharedTable(table: Table, from: readonly Database[], to: Database): Filled["parts"][number] {
  const target = replacingTarget(to, "all", table);
  const readAll = async (): Promise<Row[]> => {
    const byKey = new Map<string, Row>();
    for (const { read } of from)
      for await (const rows of tablePart(read, "one", table).read(null))
        for (const row of rows) byKey.set(JSON.stringify(target.keyOf(row)), row);
    return [...byKey.values()];
  };
  return {
    from: {
      ...target,
      count: async () => (await readAll()).length,
      async *read() {
        const rows = await readAll();
        if (rows.length > 0) yield rows;
      },
    },
    to: target,
  };
}

/** No process writes to tables whose files are still there. @throws ToolyardError PRECONDITION_FAILED where the files are not what an earlier run copied */
async function requireCopied({ where, parts }: Filled, progress: Progress, signal: AbortSignal): Promise<void> {
  // Of the files that are left only some may have a job.
  const own = parts.filter(({ to }) => !to.name.endsWith(SHARED));
  let total = 0;
  for (const { from } of own) total += await from.count();
  progress.begin("compared", total);
  try {
    for (const { from, to } of own) await comparePart(from, to, { signal, done: progress.done });
    progress.end();
  } catch (error) {
    signal.throwIfAborted();
    throw preconditionFailed(
      "data-directory",
      `${where} has all of an earlier copy of this data, and the files have something else: ${messageOf(error)} Nothing was copied or moved. ` +
        "To go on with the server, move the *.sqlite files that it keeps out of DATA_DIR; to copy them, move copy-id out of it, and name an empty database.",
      error,
    );
  }
}

/** @throws ToolyardError PRECONDITION_FAILED where there is something else */
async function isToDo({ where, marks, parts }: Filled, source: string): Promise<boolean> {
  const state = await marks.state();
  if (state?.source === source) return state.doneAt === null;
  if (state && state.doneAt === null)
    throw preconditionFailed(
      "database",
      `${where} has a part of what was copied from elsewhere. Go on with that, or give this one an empty database.`,
    );
  const others = [];
  for (const { to } of parts) if (!to.name.endsWith(SHARED) && (await to.count()) > 0) others.push(to.name);
  if (others.length > 0)
    throw preconditionFailed(
      "database",
      `${where} has data of its own (${others.join(", ")}), which nothing is added to. Nothing was copied: name an empty one.`,
    );
  return true;
}
