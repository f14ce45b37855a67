import { ToolyardError, messageOf, systemCodeOf } from "@toolyard/service-kit";
import { ConfigError } from "@toolyard/service-kit/process/config.ts";
import mongoose from "mongoose";

const { MongoError, MongoServerError, MongoServerSelectionError, MongoNetworkError } = mongoose.mongo;

/**
 * What an error of MongoDB says:
 * - `unique-violation`: another document has the values that must be unique.
 * - `conflict`: another transaction was in the way. The same one may succeed when it is run again.
 * - `unreached`: nothing was begun, since no server that takes writes was found.
 * - `lost`: the connection broke or the server stopped meanwhile. Whether a write happened is not known.
 * - `refused`: the server lets this user, or this kind of server lets nobody, do it.
 */
export type MongodbFailure = "unique-violation" | "conflict" | "unreached" | "lost" | "refused";

/** https://www.mongodb.com/docs/manual/reference/error-codes/ */
const FAILURE_OF_CODE: Readonly<Record<number, MongodbFailure>> = {
  11000: "unique-violation",
  112: "conflict",
  251: "conflict", // NoSuchTransaction: the server gave the transaction up
  13: "refused",
  18: "refused",
  20: "refused", // IllegalOperation: transactions need a replica set
  8000: "refused",
  91: "lost",
  189: "lost",
  10107: "lost",
  11600: "lost",
  11602: "lost",
  13435: "lost",
  13436: "lost",
};

/** A connection broke during a commit, and the server cannot be asked, or does not know any more. */
export class UnknownCommitError extends Error {}

/** Null where it is something else, such as a mistake in a query. */
export function mongodbFailureOf(error: unknown): MongodbFailure | null {
  if (error instanceof mongoose.Error.MongooseServerSelectionError || error instanceof MongoServerSelectionError)
    return isRefused(error) ? "refused" : "unreached";
  if (error instanceof UnknownCommitError) return "lost";
  if (error instanceof ConfigError && error.cause !== undefined) return mongodbFailureOf(error.cause);
  if (!(error instanceof MongoError)) return null;
  if (error instanceof MongoServerError) {
    const found = FAILURE_OF_CODE[Number(error.code)];
    if (found) return found;
  }
  if (isRefused(error)) return "refused";
  if (error instanceof MongoNetworkError) return "lost";
  if (/^Mongo(PoolCleared|PoolClosed|WaitQueueTimeout|NotConnected|TopologyClosed|ExpiredSession)/.test(error.name))
    return error.name.startsWith("MongoWaitQueue") ? "unreached" : "lost";
  if (error.hasErrorLabel("TransientTransactionError")) return "conflict";
  return error.hasErrorLabel("UnknownTransactionCommitResult") ? "lost" : null;
}

function isRefused(error: unknown): boolean {
  return causesOf(error).some(
    (cause) => cause instanceof MongoServerError && [13, 18, 8000].includes(Number(cause.code)),
  );
}

/** For callers: null where the error is no failure of the server's. */
export function mongodbUnavailable(error: unknown): ToolyardError | null {
  const failure = mongodbFailureOf(error);
  if (failure === null || failure === "unique-violation") return null;
  const nothingBegun = failure === "unreached" || failure === "conflict";
  const message =
    failure === "conflict"
      ? "Too many changed the same at once. Try again."
      : `What is kept in MongoDB cannot be read or changed just now. ${failure === "lost" ? "Whether the change happened is not known: look before you try again." : "Nothing was changed. Try again in a moment."}`;
  return new ToolyardError("UPSTREAM_UNAVAILABLE", message, {
    cause: error,
    ...(nothingBegun && { retryAfterSeconds: RETRY_SECONDS }),
  });
}

const RETRY_SECONDS = 2;

/** For operators, and without addresses or secrets: /health shows it to everybody. */
export function mongodbReasonOf(error: unknown): string {
  const causes = causesOf(error);
  for (const cause of causes) {
    const code = cause instanceof MongoServerError ? Number(cause.code) : null;
    if (code === 18 || code === 8000) return "It refuses user and password.";
    if (code === 13) return "Its user may not do what Toolyard needs.";
    if (code === 20) return "It is no replica set, and only those have transactions.";
  }
  for (const cause of causes) {
    const code = systemCodeOf(cause);
    if (code === null) continue;
    if (code === "ECONNREFUSED") return "Nothing listens there (connection refused).";
    if (code === "ENOTFOUND") return "Its host name is not known.";
    if (code === "ETIMEDOUT") return "It does not answer.";
    if (/CERT|TLS|SSL|SIGNED|UNABLE_TO_|WRONG_VERSION/.test(code)) return `TLS with it fails (${code}).`;
  }
  if (causes.some((cause) => /timed? ?out/i.test(messageOf(cause)))) return "It does not answer.";
  return mongodbFailureOf(error) === null ? "It cannot be used." : "It is away.";
}

/** An error, what it was caused by, and what the driver knows of each server that it tried. */
function causesOf(error: unknown): Error[] {
  const found: Error[] = [];
  const add = (one: unknown) => {
    if (!(one instanceof Error) || found.includes(one)) return;
    found.push(one);
    add(one.cause);
    const { reason } = one as { reason?: unknown };
    add(reason);
    if (typeof reason !== "object" || reason === null || !("servers" in reason) || !(reason.servers instanceof Map))
      return;
    for (const server of reason.servers.values() as MapIterator<{ error?: unknown }>) add(server.error);
  };
  add(error);
  return found;
}
