import { setTimeout as delay } from "node:timers/promises";
import type { Model } from "mongoose";
import { KILLED_MS } from "./conflicts.ts";
import { mongodbFailureOf } from "./failures.ts";

/** Runs what a start needs of a server until it can be done, for as long as a process that was killed may hold it up; `work` may be run again at any time. */
export async function untilDone<Result>(work: () => Promise<Result>): Promise<Result> {
  for (const until = performance.now() + KILLED_MS; ; await delay(500)) {
    try {
      return await work();
    } catch (error) {
      const failure = mongodbFailureOf(error);
      if (failure === null || failure === "refused" || performance.now() > until) throw error;
    }
  }
}

/** Makes the collections and indexes that are missing: transactions make no collections on every server. */
export async function createCollections(
  models: readonly Pick<Model<never>, "createCollection" | "createIndexes">[],
): Promise<void> {
  for (const model of models)
    await untilDone(async () => {
      await model.createCollection();
      await model.createIndexes();
    });
}
