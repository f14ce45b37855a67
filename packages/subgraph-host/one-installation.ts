import { orUnavailable, untilDone, type MongodbConnection } from "@toolyard/mongodb";
import { mongodbMark } from "@toolyard/mongodb/installation-mark.ts";
import { ConfigError } from "@toolyard/service-kit/process/config.ts";
import type { InstallationMarks, StoreColumn } from "@toolyard/storage/installation-mark.ts";

/** Rows that name contents in MongoDB, which are there before them, and the contents' collections. */
const NAMED: readonly (StoreColumn & { collection: string })[] = [
  { store: "tools", table: "tool_versions", column: "contentId", collection: "tool_versions" },
  { store: "tasks", table: "tasks", column: "resultId", collection: "task_results" },
];
/** Documents, which no rows name, and the rows that they name. */
const DOCUMENTS = "knowledge_documents";
const NAMED_BY_DOCUMENTS: readonly (StoreColumn & { field: "uploadedById" | "toolId" })[] = [
  { store: "identity", table: "users", column: "id", field: "uploadedById" },
  { store: "tools", table: "tools", column: "id", field: "toolId" },
];
const SAMPLE = 50;

interface StoredContent {
  _id: string;
  uploadedById?: string | null;
  toolId?: string | null;
}

/** What an installation's rows and a MongoDB without a mark say of each other. */
type Found =
  /** Rows name some of what is there, or are named there. */
  | { kind: "same" }
  /** Rows name none, and nothing is there. */
  | { kind: "empty" }
  /** Rows name contents, and none of them is there. */
  | { kind: "missing"; example: string }
  /** There are contents, which rows know nothing of. */
  | { kind: "foreign" };

/**
 * Holds the relational side of an installation and its MongoDB together by a mark that both have. Each side without one is given it where that
 * is safe: both are new, or the relational side is and nothing is in MongoDB, or what is there belongs to it by what both say of each other.
 * Processes that do so at once come to one mark.
 * @param options.adopt False gives none: for those that only look.
 * @returns whether MongoDB still has the mark, to be asked later on
 * @throws ConfigError where they belong to different installations, or one has lost what the other refers to
 */
export async function requireOneInstallation(options: {
  marks: InstallationMarks;
  mongodb: MongodbConnection;
  adopt?: boolean;
}): Promise<() => Promise<boolean>> {
  const { marks, mongodb, adopt = true } = options;
  const mark = mongodbMark(mongodb);
  const own = adopt ? await marks.begin() : await marks.read();
  const isOwn = (id: string | null): boolean => {
    if (id !== null && id !== own?.id) throw anotherInstallation(marks.where);
    return id !== null;
  };
  async function hold(): Promise<void> {
    if (isOwn(await mark.read())) return;
    const found = await compare(marks, mongodb);
    if (found.kind === "same" || (found.kind === "empty" && !own?.isPaired)) {
      if (adopt && own) isOwn(await mark.begin(own.id));
      return;
    }
    // Another process of this installation gave it the mark meanwhile, and wrote to it.
    if (!isOwn(await mark.read())) throw apart(found, marks.where);
  }
  await orUnavailable(() => untilDone(hold));
  return async () => own === null || (await mark.read()) === own.id;
}

async function compare(marks: InstallationMarks, { connection }: MongodbConnection): Promise<Found> {
  const { db } = connection;
  if (!db) throw new Error("The connection to MongoDB is not open yet.");
  const collection = (name: string) => db.collection<StoredContent>(name);
  let example: string | null = null;
  for (const { collection: name, ...column } of NAMED) {
    const isThere = async (ids: string[]) => (await collection(name).findOne({ _id: { $in: ids } })) !== null;
    const [first, last] = [await marks.some(column, "LOWEST", 1), await marks.some(column, "HIGHEST", SAMPLE)];
    // One that was emptied under a running Toolyard has what came since.
    if (first.length > 0 && (await isThere(first)) && (await isThere(last))) return { kind: "same" };
    example ??= first[0] === undefined ? null : `${column.table}.${column.column} ${first[0]}`;
  }
  if (example !== null) return { kind: "missing", example };
  const documents = await collection(DOCUMENTS).find().sort({ _id: -1 }).limit(SAMPLE).toArray();
  for (const { field, ...column } of NAMED_BY_DOCUMENTS) {
    const ids = [...new Set(documents.flatMap((document) => document[field] ?? []))];
    if (await marks.hasAny(column, ids)) return { kind: "same" };
  }
  for (const name of [DOCUMENTS, ...NAMED.map((each) => each.collection)])
    if (await collection(name).findOne()) return { kind: "foreign" };
  return { kind: "empty" };
}

const CHANGED_NOTHING =
  'Nothing was changed. Set DATABASE_URL, DATA_DIR and MONGODB_URL as they were together; docs/mongodb.md says under "What belongs together" what else can be done.';

function anotherInstallation(where: string): ConfigError {
  return new ConfigError(
    `MONGODB_URL: the database that it names belongs to another installation than ${where}: their marks differ. ${CHANGED_NOTHING}`,
  );
}

function apart(found: Exclude<Found, { kind: "same" }>, where: string): ConfigError {
  return new ConfigError(`MONGODB_URL: the database that it names ${problemOf(found, where)} ${CHANGED_NOTHING}`);
}

function problemOf(found: Exclude<Found, { kind: "same" }>, where: string): string {
  switch (found.kind) {
    case "empty":
      return `is empty, and ${where} says that documents, contents of versions and results of tasks are in MongoDB: it is another one than before, or was emptied.`;
    case "missing":
      return `has none of the contents that ${where} names first (such as ${found.example}): it is another one than before, or was emptied.`;
    case "foreign":
      return `has contents of another installation: ${where} knows nothing of them.`;
  }
}
