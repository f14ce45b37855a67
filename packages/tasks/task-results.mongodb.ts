import { createCollections, orUnavailable, type MongodbConnection } from "@toolyard/mongodb";
import type { Apart } from "@toolyard/storage/copying/apart.ts";
import { CHUNK_ROWS } from "@toolyard/storage/parts.ts";
import mongoose from "mongoose";
import type { TaskResults } from "./task-results.ts";

interface StoredResult {
  _id: string;
  taskId: string;
  /** JSON text, which keeps the order and the names of keys. */
  value: string;
  at: number;
}

const resultSchema = new mongoose.Schema<StoredResult>(
  {
    _id: { type: String, required: true },
    taskId: { type: String, required: true },
    value: { type: String, required: true },
    at: { type: Number, required: true },
  },
  { collection: "task_results", versionKey: false, strict: "throw", id: false },
).index({ at: 1 });

export async function createMongodbTaskResults({ connection }: MongodbConnection): Promise<TaskResults> {
  const results = connection.model("TaskResult", resultSchema);
  await createCollections([results]);
  return {
    write: ({ id, taskId, value, at }) =>
      orUnavailable(async () => {
        await results.insertOne({ _id: id, taskId, value: JSON.stringify(value), at });
      }),

    read: (ids) =>
      orUnavailable(async () => {
        const found = await results.find({ _id: { $in: ids } }).lean();
        return new Map(found.map(({ _id, value }) => [_id, JSON.parse(value) as unknown]));
      }),

    trim: (at, signal) =>
      orUnavailable(async () => {
        let sum = 0;
        for (let removed = CHUNK_ROWS; removed === CHUNK_ROWS && !signal?.aborted; sum += removed) {
          const old = await results
            .find({ at: { $lt: at } }, { _id: 1 })
            .limit(CHUNK_ROWS)
            .lean();
          removed = old.length;
          if (removed > 0) await results.deleteMany({ _id: { $in: old.map(({ _id }) => _id) } });
        }
        return sum;
      }),
  };
}

/** Results as they are copied into a MongoDB with the rows of their tasks, whose ids they have. */
export async function mongodbResultsApart({ connection }: MongodbConnection): Promise<Apart> {
  const results = connection.model("TaskResult", resultSchema);
  await createCollections([results]);
  return {
    reference: "resultId",
    columns: ["result"],
    at: "finishedAt",
    async put(rows) {
      if (rows.length === 0) return;
      // The columns above: a task that has a result has ended.
      const given = rows as unknown as { id: string; result: string; finishedAt: number }[];
      await results.bulkWrite(
        given.map(({ id, result: value, finishedAt: at }) => ({
          replaceOne: { filter: { _id: id }, replacement: { _id: id, taskId: id, value, at }, upsert: true },
        })),
      );
    },
    async read(ids) {
      const found = await results.find({ _id: { $in: ids } }).lean();
      return new Map(found.map(({ _id: id, at: finishedAt, value: result }) => [id, { id, finishedAt, result }]));
    },
  };
}
