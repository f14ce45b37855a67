import { isPublic, systemCodeOf, type Logger } from "@toolyard/service-kit";
import type { DataSource, QueryRunner } from "typeorm";
import { databaseFailureOf, databaseUnavailable } from "./failures.ts";

/** What may fail while the other goes on. */
type Work = "read" | "write";

/** What is known of a database by what came of the work on it. It is logged where it changes. */
export interface Availability {
  /** @returns what is to be thrown: an error for callers where the database failed, else the same */
  failed(error: unknown, work: Work, phase?: { mayBeDone: boolean }): unknown;
  /** A transaction begins. @returns what is to be called when it has ended */
  began(): () => void;
  /** A transaction was committed, which may have written nothing. */
  committed(): void;
  /** As of Database. */
  whyFailing(): Promise<string | null>;
}

/** How long the same failure is not logged again: it may come and go with each change. */
const SAY_AGAIN_MS = 60_000;
/** How often, at most, commits have what failed tried again. */
const TRY_AGAIN_MS = 1_000;
/** A transaction that is under way for as long may wait for a server that takes no changes. */
const SLOW_MS = 2_000;

export function createAvailability(options: {
  /** The file's or the store's. */
  name: string;
  /** They fail, soon, where reads do, and changes; `write` changes nothing. What failed works again only when its own probe succeeds. */
  probes: Record<Work, () => Promise<unknown>>;
  logger?: Pick<Logger, "warn" | "info"> | undefined;
}): Availability {
  const { name, probes, logger } = options;
  const reasons = new Map<Work, string>();
  const trying = new Map<Work, Promise<void>>();
  /** When transactions that are under way began. */
  const underWay = new Set<{ at: number }>();
  let said: { reason: string; at: number } | null = null;
  let triedAt = -Infinity;

  const failed: Availability["failed"] = (error, work, phase) => {
    const known = isPublic(error) ? error : databaseUnavailable(error, phase);
    const failure = databaseFailureOf(error);
    if (known === null || failure === null) return error;
    // Another transaction's fault.
    if (failure === "conflict") return known;
    const reason = known.message;
    reasons.set(work, reason);
    if (said?.reason !== reason || performance.now() - said.at > SAY_AGAIN_MS) {
      said = { reason, at: performance.now() };
      logger?.warn({ database: name, code: systemCodeOf(known.cause) }, reason);
    }
    return known;
  };

  function tryAgain(work: Work): Promise<void> {
    const running = trying.get(work);
    if (running) return running;
    triedAt = performance.now();
    const attempt = probes[work]()
      .then(
        () => {
          if (reasons.delete(work) && reasons.size === 0)
            logger?.info({ database: name }, "the database can be read and changed again");
        },
        (error: unknown) => void failed(error, work),
      )
      .finally(() => trying.delete(work));
    trying.set(work, attempt);
    return attempt;
  }

  const isSlow = () => [...underWay].some(({ at }) => performance.now() - at > SLOW_MS);

  return {
    failed,
    began() {
      const one = { at: performance.now() };
      underWay.add(one);
      return () => underWay.delete(one);
    },
    committed() {
      if (performance.now() - triedAt > TRY_AGAIN_MS) for (const work of reasons.keys()) void tryAgain(work);
    },
    async whyFailing() {
      const doubted = new Set<Work>([...reasons.keys(), ...(isSlow() ? (["write"] as const) : [])]);
      await Promise.all([...doubted].map(tryAgain));
      return reasons.get("write") ?? reasons.get("read") ?? null;
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
