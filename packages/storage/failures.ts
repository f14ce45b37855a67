import { ToolyardError, systemCodeOf } from "@toolyard/service-kit";

/**
 * What happened in a database, whichever it is:
 * - `unique-violation`: another row has the values that must be unique. The statement did nothing; its transaction goes on.
 * - `conflict`: another transaction was in the way (a deadlock, a lock held too long). The same transaction may succeed when it is run again.
 * - `lost-connection`: the server went away, cannot be reached, or does not answer. Whether a commit that was under way happened is not known.
 * - `no-space`, `not-writable`: reads go on.
 * - `damaged`: it is no database, or a broken one. `disk-fault`: the disk under it does not do its work.
 */
export type DatabaseFailure =
  "unique-violation" | "conflict" | "lost-connection" | "no-space" | "not-writable" | "damaged" | "disk-fault";

/**
 * By codes that the drivers and the system give, the first that matches. SQLite: https://sqlite.org/rescode.html; MySQL and MariaDB:
 * https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html
 */
const FAILURES: readonly [RegExp, DatabaseFailure][] = [
  [/^(SQLITE_CONSTRAINT_(UNIQUE|PRIMARYKEY|ROWID)|ER_DUP_ENTRY)$/, "unique-violation"],
  [/^(SQLITE_(BUSY|LOCKED)(_|$)|ER_(LOCK_DEADLOCK|LOCK_WAIT_TIMEOUT|CHECKREAD)$)/, "conflict"],
  [
    /^(PROTOCOL_(CONNECTION_LOST|ENQUEUE_AFTER|SEQUENCE_TIMEOUT)|ER_(SERVER_SHUTDOWN|SERVER_OFFLINE_MODE|CON_COUNT_ERROR|TOO_MANY_USER_CONNECTIONS|USER_LIMIT_REACHED|CONNECTION_KILLED))/,
    "lost-connection",
  ],
  [/^(ECONN(REFUSED|RESET|ABORTED)|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN)$/, "lost-connection"],
  [/^(SQLITE_FULL|ENOSPC|EDQUOT|ER_(DISK_FULL|RECORD_FILE_FULL))/, "no-space"],
  [
    /^(SQLITE_(READONLY|CANTOPEN|PERM)|EACCES|EPERM|EROFS|EISDIR|ER_(OPTION_PREVENTS_STATEMENT|READ_ONLY_MODE))/,
    "not-writable",
  ],
  [/^(SQLITE_(NOTADB|CORRUPT)|ER_NOT_KEYFILE|ER_CRASHED)/, "damaged"],
  [/^(SQLITE_IOERR|ER_ERROR_ON_(READ|WRITE))/, "disk-fault"],
];

/** What an error of a store says of its database; null where it is something else, such as a mistake in a statement. */
export function databaseFailureOf(error: unknown): DatabaseFailure | null {
  if (error instanceof ToolyardError) return databaseFailureOf(error.cause);
  const code = systemCodeOf(error) ?? (isOfClosedConnection(error) ? "PROTOCOL_CONNECTION_LOST" : null);
  return (code !== null && FAILURES.find(([pattern]) => pattern.test(code))?.[1]) || null;
}

/** mysql2 gives no code to what is asked of a connection after its end. */
function isOfClosedConnection(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith("Can't add new command when connection is in closed state");
}

const RETRY_SECONDS = 2;
const READS_GO_ON = "Nothing was changed, and all that is there can be read.";

/**
 * What an error is to callers; null where it is no failure of the database's. A statement that failed on its way is undone with its
 * transaction, so that only a commit, `mayBeDone`, can have happened though its answer was lost.
 */
export function databaseUnavailable(error: unknown, { mayBeDone = false } = {}): ToolyardError | null {
  const again = { cause: error, retryAfterSeconds: RETRY_SECONDS };
  switch (databaseFailureOf(error)) {
    case "conflict":
      return new ToolyardError("UPSTREAM_UNAVAILABLE", "Too many changed the same at once. Try again.", again);
    case "lost-connection":
      return mayBeDone
        ? new ToolyardError(
            "UPSTREAM_UNAVAILABLE",
            "The connection to the database broke. Whether the change happened is not known: look before you try again.",
            { cause: error },
          )
        : new ToolyardError(
            "UPSTREAM_UNAVAILABLE",
            "The database cannot be reached just now. Nothing was changed. Try again in a moment.",
            again,
          );
    case "no-space":
      return new ToolyardError(
        "CAPACITY_EXHAUSTED",
        `There is no space left on the database's disk. ${READS_GO_ON} Make room on it, and try again; nothing needs a restart.`,
        { cause: error },
      );
    case "not-writable":
      return new ToolyardError("UPSTREAM_UNAVAILABLE", `The database takes no changes now. ${READS_GO_ON}`, {
        cause: error,
      });
    case "disk-fault":
      return new ToolyardError("UPSTREAM_UNAVAILABLE", "The database's disk has a fault, or is full.", {
        cause: error,
      });
    case "unique-violation":
    case "damaged":
    case null:
      return null;
  }
}
