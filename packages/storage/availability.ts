import { isPublic, systemCodeOf, type Logger } from "@toolyard/service-kit";
import type { DataSource, QueryRunner } from "typeorm";
import { databaseFailureOf, databaseUnavailable } from "./failures.ts";

/** What is known of a database by what came of the work on it. It is logged where it changes. */
export interface Availability {
  /** @returns what is to be thrown: an error for callers where the database failed, else the same */
  failed(error: unknown, phase?: { mayBeDone: boolean }): unknown;
  /** A transaction was committed, which may have written nothing. */
  committed(): void;
  /** As of Database. */
  whyUnwritable(): Promise<string | null>;
}

/** How long the same failure is not logged again: it may come and go with each change. */
const SAY_AGAIN_MS = 60_000;

export function createAvailability(options: {
  /** The file's or the store's. */
  name: string;
  /** Changes nothing, by a transaction that fails where changes do. */
  tryToWrite: () => Promise<unknown>;
  logger?: Pick<Logger, "warn" | "info"> | undefined;
}): Availability {
  const { name, tryToWrite, logger } = options;
  let reason: string | null = null;
  let said: { reason: string; at: number } | null = null;
  let trying: Promise<void> | null = null;

  const tryAgain = () =>
    (trying ??= tryToWrite()
      .then(
        () => {
          if (reason !== null) logger?.info({ database: name }, "the database takes changes again");
          reason = null;
        },
        () => undefined, // it is told by the reason
      )
      .finally(() => (trying = null)));

  return {
    failed(error, phase) {
      const known = isPublic(error) ? error : databaseUnavailable(error, phase);
      const failure = databaseFailureOf(error);
      if (known === null || failure === null) return error;
      // Another transaction's fault.
      if (failure === "conflict") return known;
      reason = known.message;
      if (said?.reason !== reason || performance.now() - said.at > SAY_AGAIN_MS) {
        said = { reason, at: performance.now() };
        logger?.warn({ database: name, code: systemCodeOf(known.cause) }, reason);
      }
      return known;
    },
    committed() {
      if (reason !== null) void tryAgain();
    },
    async whyUnwritable() {
      if (reason !== null) await tryAgain();
      return reason;
    },
  };
}

/** Has statements of a source fail with what `toThrow` makes of their errors. */
export function explainErrors(source: DataSource, toThrow: (error: unknown, runner: QueryRunner) => unknown): void {
  const create = source.createQueryRunner.bind(source);
  const seen = new WeakSet<QueryRunner>();
  source.createQueryRunner = (mode) => {
    const runner = create(mode);
    // SQLite's driver has one for all.
    if (seen.has(runner)) return runner;
    seen.add(runner);
    const query = runner.query.bind(runner);
    runner.query = (async (...statement: Parameters<typeof query>) => {
      try {
        return await query(...statement);
      } catch (error) {
        // It may be a promise.
        throw await toThrow(error, runner);
      }
    }) as typeof query;
    return runner;
  };
}
