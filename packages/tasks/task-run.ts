import { setTimeout as delay } from "node:timers/promises";
import { ToolyardError, type Logger } from "@toolyard/service-kit";
import { createProgressReporter } from "./progress.ts";
import { resultProblem } from "./task-results.ts";
import { isOfStore, isRetryable, retryDelayMs, taskErrorOf } from "./retry.ts";
import type { TaskHandler } from "./task-queue.ts";
import type { ClaimedTask, TaskStore } from "./task-store.ts";

/** Why a run is ended from outside. */
type Ending = "cancelled" | "shutdown" | "lost" | "timeout";

/** One run of a task under its lease. */
export interface ActiveRun {
  readonly lease: ClaimedTask["lease"];
  /** Aborts the handler's signal; the run settles when the handler lets go, or after the grace time without it. */
  end(why: Ending): void;
  /** The outcome is written, or could not be. Never rejects. */
  readonly settled: Promise<void>;
}

export interface RunOptions {
  store: TaskStore;
  logger: Logger;
  handler: TaskHandler;
  now: () => number;
  leaseMs: number;
  heartbeatIntervalMs: number;
  progressIntervalMs: number;
  timeoutMs: number;
  graceMs: number;
  retryBaseMs: number;
  /** Called once, when the handler has let go or is given up: its outcome is still to be written. */
  handled: () => void;
  /** How long a result may wait to be written with other changes. */
  mayWaitMs: () => number;
  /** The task is to be run again, after so many milliseconds. */
  queuedAgain: (inMs: number) => void;
}

/** Between two attempts to write an outcome. */
const WRITE_AGAIN_MS = { first: 100, longest: 5_000 };

type Outcome = { type: "result"; result: unknown } | { type: "error"; error: unknown } | { type: "abandoned" };

/** Runs a claimed task, keeps its lease, and writes its outcome. */
export function startRun({ task, lease }: ClaimedTask, options: RunOptions): ActiveRun {
  const { store, logger, now, handler, leaseMs, graceMs, timeoutMs } = options;
  const logged = { task_id: task.id, task_kind: task.kind };
  const controller = new AbortController();
  const abandoned = Promise.withResolvers<Outcome>();
  let ending: Ending | null = null;
  let grace: NodeJS.Timeout | undefined;

  function end(why: Ending): void {
    if (ending !== null) return;
    ending = why;
    controller.abort(new ToolyardError(why === "timeout" ? "TIMEOUT" : "CONFLICT", `The task's run ends: ${why}.`));
    grace = setTimeout(() => abandoned.resolve({ type: "abandoned" }), graceMs);
  }

  const heartbeat = setInterval(() => {
    store.heartbeat(lease, leaseMs).then(
      (held) => held || end("lost"),
      (error: unknown) => logger.warn({ ...logged, err: error }, "renewing a task's lease failed; it is tried again"),
    );
  }, options.heartbeatIntervalMs);
  heartbeat.unref();
  const deadline = setTimeout(() => end("timeout"), timeoutMs);
  deadline.unref();
  const reporter = createProgressReporter({
    intervalMs: options.progressIntervalMs,
    write: (progress, message) =>
      store.progress(lease, progress, message).then(
        (held) => void (held || end("lost")),
        (error: unknown) => logger.warn({ ...logged, err: error }, "writing a task's progress failed"),
      ),
  });

  async function settle(outcome: Outcome): Promise<boolean> {
    if (outcome.type === "abandoned")
      logger.warn({ ...logged, reason: ending }, "a task's handler does not let go; its outcome will not count");
    if (ending === "lost") return false;
    if (ending === "cancelled") return store.cancelled(lease);
    // A result that came in time for the end of the process or of its time counts.
    if (outcome.type === "result") {
      const problem = resultProblem(outcome.result);
      return problem ? store.fail(lease, problem) : store.succeed(lease, outcome.result, options.mayWaitMs());
    }
    if (ending === "shutdown") return again(0, await store.release(lease));
    if (ending === "timeout")
      return store.fail(lease, {
        code: "TIMEOUT",
        message: `The task did not end within ${Math.round(timeoutMs / 1_000)} s.`,
      });
    return settleError(outcome.type === "error" ? outcome.error : null);
  }

  /** While the lease is held: a store that is away for some time costs no run. Given up with the grace time at the latest. */
  async function settleInTime(outcome: Outcome): Promise<boolean> {
    let isLast = false;
    void abandoned.promise.then(() => (isLast = true));
    for (let waitMs = WRITE_AGAIN_MS.first; ; waitMs = Math.min(waitMs * 2, WRITE_AGAIN_MS.longest)) {
      try {
        return await settle(outcome);
      } catch (error) {
        if (isLast || !isOfStore(error)) throw error;
        logger.warn({ ...logged, err: error }, "writing a task's outcome failed; it is tried again");
      }
      await Promise.race([delay(waitMs, undefined, { ref: false }), abandoned.promise]);
    }
  }

  function again(inMs: number, counted: boolean): boolean {
    if (counted) options.queuedAgain(inMs);
    return counted;
  }

  async function settleError(error: unknown): Promise<boolean> {
    const shown = taskErrorOf(error);
    logger.warn({ ...logged, err: error, attempt: task.attempts }, "a task's run failed");
    if (!isRetryable(shown)) return store.fail(lease, shown);
    const delayMs = retryDelayMs(error, task, options.retryBaseMs);
    return again(delayMs, await store.retry(lease, shown, now() + delayMs));
  }

  async function run(): Promise<void> {
    const work = Promise.resolve()
      .then(() =>
        handler({
          task,
          input: task.input,
          signal: controller.signal,
          progress: (progress, message) => reporter.report(progress, message ?? null),
        }),
      )
      .then(
        (result): Outcome => ({ type: "result", result }),
        (error: unknown): Outcome => ({ type: "error", error }),
      );
    try {
      const outcome = await Promise.race([work, abandoned.promise]);
      reporter.stop();
      options.handled();
      const counted = await settleInTime(outcome);
      if (!counted) logger.info(logged, "the outcome of a task's run does not count: its lease was lost");
    } catch (error) {
      logger.error({ ...logged, err: error }, "writing a task's outcome failed; it runs again when its lease ends");
    } finally {
      reporter.stop();
      clearInterval(heartbeat);
      clearTimeout(deadline);
      clearTimeout(grace);
    }
  }

  return { lease, end, settled: run() };
}
