import { setTimeout as delay } from "node:timers/promises";
import mongoose from "mongoose";
import { mongodbFailureOf, mongodbUnavailable } from "./failures.ts";

/** For callers: what another transaction is in the way of for longer is given up. */
export const CALL_MS = 10_000;
/** A server keeps the transaction of a process that was killed for a minute, and all that meets it fails until then. */
export const KILLED_MS = 70_000;

/** Runs it again where another transaction was in its way, for so long. @throws as the last run */
export async function againOnConflict<Result>(run: () => Promise<Result>, withinMs = CALL_MS): Promise<Result> {
  const until = performance.now() + withinMs;
  for (let waitMs = 5; ; waitMs = Math.min(waitMs * 2, 250)) {
    try {
      return await run();
    } catch (error) {
      const mayPass =
        mongodbFailureOf(error) === "conflict" ||
        (error instanceof mongoose.mongo.MongoError && error.hasErrorLabel("TransientTransactionError"));
      if (!mayPass || performance.now() > until) throw error;
    }
    await delay(waitMs * (0.5 + Math.random()));
  }
}

/**
 * Runs operations for callers; again where a transaction was in their way, so each is one that may be done twice.
 * @throws ToolyardError UPSTREAM_UNAVAILABLE where the server fails them
 */
export async function orUnavailable<Result>(run: () => Promise<Result>): Promise<Result> {
  try {
    return await againOnConflict(run);
  } catch (error) {
    throw mongodbUnavailable(error) ?? error;
  }
}
