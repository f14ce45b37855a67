import mongoose from "mongoose";
import { createCollections } from "./collections.ts";
import type { MongodbConnection } from "./connection.ts";
import { mongodbFailureOf } from "./failures.ts";

/** The installation whose contents a database has. */
interface StoredMark {
  _id: "installation";
  id: string;
}

const markSchema = new mongoose.Schema<StoredMark>(
  { _id: { type: String, required: true }, id: { type: String, required: true } },
  { collection: "toolyard_installation", versionKey: false, strict: "throw", id: false },
);

/** The mark of an installation in a MongoDB's database: the id that its relational side has. */
export function mongodbMark({ connection }: MongodbConnection) {
  const marks = connection.model("Installation", markSchema);
  const read = async (): Promise<string | null> => (await marks.findOne({ _id: "installation" }).lean())?.id ?? null;
  return {
    /** Null where there is none yet. */
    read,
    /** Of all that begin one at once, the first one's stays. @returns the one that is there */
    async begin(id: string): Promise<string> {
      await createCollections([marks]);
      try {
        await marks.insertOne({ _id: "installation", id });
      } catch (error) {
        if (mongodbFailureOf(error) !== "unique-violation") throw error;
      }
      return (await read()) ?? id;
    },
  };
}
