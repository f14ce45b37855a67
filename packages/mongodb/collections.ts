import { setTimeout as delay } from "node:timers/promises";
import type { Model } from "mongoose";
import { KILLED_MS } from "./conflicts.ts";
import { mongodbFailureOf } from "./failures.ts";

/** Makes the collections and indexes that are missing: transactions make no collections on every server. */
export async function createCollections(
  models: readonly Pick<Model<never>, "createCollection" | "createIndexes">[],
): Promise<void> {
  const until = performance.now() + KILLED_MS;
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
