import type { StoredLaunch } from "@toolyard/launch";
import { createCollections, orUnavailable, type MongodbConnection } from "@toolyard/mongodb";
import type { Resealer } from "@toolyard/service-kit/identity/resealing.ts";
import { CHUNK_ROWS } from "@toolyard/storage";
import type { Apart } from "@toolyard/storage/copying/apart.ts";
import { resealValue, type Resealed } from "@toolyard/storage/reseal.ts";
import mongoose, { type Connection } from "mongoose";
import type { NewContent, StatedContent, VersionContents } from "./version-contents.ts";

/** Launch and schema are JSON text, which keeps the order and the names of keys. */
interface StoredContent extends Omit<NewContent, "id" | "launch" | "configSchema"> {
  _id: string;
  launch: string;
  configSchema: string | null;
}

const contentSchema = new mongoose.Schema<StoredContent>(
  {
    _id: { type: String, required: true },
    versionId: { type: String, required: true },
    at: { type: Number, required: true },
    name: { type: String, default: "" },
    description: { type: String, default: "" },
    tags: [String],
    launch: { type: String, required: true },
    configSchema: { type: String, default: null },
    changeSummary: { type: String, default: null },
  },
  { collection: "tool_versions", versionKey: false, strict: "throw", id: false },
);

const contentModel = (connection: Connection) => connection.model("ToolVersion", contentSchema);

export async function createMongodbVersionContents({ connection }: MongodbConnection): Promise<VersionContents> {
  const contents = contentModel(connection);
  await createCollections([contents]);
  return {
    write: ({ id, versionId, at, name, description, tags, launch, configSchema, changeSummary }) =>
      orUnavailable(async () => {
        await contents.insertOne({
          _id: id,
          versionId,
          at,
          name,
          description,
          tags,
          launch: JSON.stringify(launch),
          configSchema: configSchema === null ? null : JSON.stringify(configSchema),
          changeSummary,
        });
      }),

    read: (ids) =>
      orUnavailable(async () => {
        const found = await contents.find({ _id: { $in: ids } }).lean();
        return new Map(found.map((content) => [content._id, toContent(content)]));
      }),

    list: (after, before, limit) =>
      orUnavailable(async () => {
        const query = contents.find(
          { at: { $lt: before }, ...(after !== null && { _id: { $gt: after } }) },
          { versionId: 1 },
        );
        const found = await query.sort({ _id: 1 }).limit(limit).lean();
        return found.map(({ _id, versionId }) => ({ id: _id, versionId }));
      }),

    remove: (ids) =>
      orUnavailable(async () => {
        await contents.deleteMany({ _id: { $in: ids } });
      }),
  };
}

/**
 * Seals the secrets of all launches with the current key, one content after the other: killed in between, it goes on when it is run again. Nobody
 * else may write meanwhile.
 * @param options.say Told how far it is
 */
export async function resealVersionContents(
  { connection }: MongodbConnection,
  resealer: Resealer,
  options: { signal: AbortSignal; say: (line: string) => void },
): Promise<Resealed> {
  const contents = contentModel(connection);
  const found: Resealed = { opened: 0, resealed: 0, unopened: new Map() };
  let seen = 0;
  const all = contents.find({}, { versionId: 1, launch: 1 }).sort({ _id: 1 }).lean().cursor({ batchSize: CHUNK_ROWS });
  for await (const { _id, versionId, launch } of all) {
    options.signal.throwIfAborted();
    const column = "tool_versions.launch";
    const text = resealValue({ resealer, found, column, sealed: "launch", ids: [versionId], value: launch });
    if (text !== null) await contents.updateOne({ _id }, { launch: text });
    seen += 1;
    if (seen % CHUNK_ROWS === 0) options.say(`MongoDB: ${seen} versions, ${found.resealed} values sealed anew so far.`);
  }
  return found;
}

/** Contents as they are copied into a MongoDB with the rows of their versions, whose ids they have. */
export async function mongodbContentsApart({ connection }: MongodbConnection): Promise<Apart> {
  const contents = contentModel(connection);
  await createCollections([contents]);
  return {
    reference: "contentId",
    columns: ["name", "description", "tags", "launch", "configSchema", "changeSummary"],
    at: "createdAt",
    async put(rows) {
      if (rows.length === 0) return;
      // The columns above.
      const given = rows as unknown as CopiedContent[];
      await contents.bulkWrite(
        given.map(({ id, createdAt: at, tags, ...content }) => ({
          replaceOne: {
            filter: { _id: id },
            replacement: { ...content, _id: id, versionId: id, at, tags: JSON.parse(tags) as string[] },
            upsert: true,
          },
        })),
      );
    },
    async read(ids) {
      const found = await contents.find({ _id: { $in: ids } }).lean();
      return new Map(
        found.map(({ _id, at, versionId: _version, tags, ...content }) => [
          _id,
          { ...content, id: _id, createdAt: at, tags: JSON.stringify(tags) },
        ]),
      );
    },
  };
}

/** A row of a version, as far as its content goes: tags are JSON text. */
interface CopiedContent extends Omit<StoredContent, "_id" | "versionId" | "at" | "tags"> {
  id: string;
  createdAt: number;
  tags: string;
}

function toContent({ name, description, tags, launch, configSchema, changeSummary }: StoredContent): StatedContent {
  return {
    name,
    description,
    tags,
    // Written above.
    launch: JSON.parse(launch) as StoredLaunch,
    configSchema: configSchema === null ? null : (JSON.parse(configSchema) as unknown),
    changeSummary,
  };
}
