import { setTimeout as delay } from "node:timers/promises";
import type { Model } from "mongoose";
import { mongodbFailureOf } from "./failures.ts";

/** A transaction whose process was killed holds up what makes collections until the server gives it up, after a minute. */
const MAKING_MS = 70_000;

/** Makes the collections and indexes that are missing: transactions make no collections on every server. */
export async function createCollections(
  models: readonly Pick<Model<never>, "createCollection" | "createIndexes">[],
): Promise<void> {
  const until = performance.now() + MAKING_MS;
  for (const model of models) {
    for (;;) {
      try {
        await model.createCollection();
        await model.createIndexes();
        break;
      } catch (error) {
        const failure = mongodbFailureOf(error);
        if (failure === null || failure === "refused" || performance.now() > until) throw error;
      }
      await delay(500);
    }
  }
}
