import { preconditionFailed } from "@toolyard/service-kit";
import type { MongodbConnection } from "@toolyard/mongodb";

/** What is kept of a copy into a MongoDB: see CopyMarks. */
interface CopyMark {
  _id: "documents";
  source: string;
  doneAt: number | null;
}

export function mongodbMarks({ connection }: MongodbConnection) {
  const { db } = connection;
  if (!db) throw preconditionFailed("database", "The connection to the MongoDB of MONGODB_URL is lost.");
  const marks = db.collection<CopyMark>("toolyard_copy");
  return {
    state: () => marks.findOne({ _id: "documents" }),
    begin: async (source: string) =>
      void (await marks.replaceOne({ _id: "documents" }, { source, doneAt: null }, { upsert: true })),
    end: async (doneAt: number) => void (await marks.updateOne({ _id: "documents" }, { $set: { doneAt } })),
  };
}
