import { createHash } from "node:crypto";
import { ToolyardError, type Logger } from "@toolyard/service-kit";
import { createLruCache } from "./lru-cache.ts";
import { createPlannerPool, type PlannerOutcome, type PlannerPool } from "./planner-pool.ts";
import type { PlanRequest, QueryPlanner } from "./query-planner.ts";

export interface IsolatedPlannerOptions {
  supergraphSdl: string;
  log?: Pick<Logger, "warn"> | undefined;
  /** The native planner, and the one that is asked when it does not answer. */
  native?: PlannerPool;
  fallback?: PlannerPool;
  /** Epoch milliseconds. */
  now?: () => number;
}

/**
 * Plans in other processes: the native planner's, and Apollo's for operations that the native one dies of, stalls on, refuses, or has
 * planned wrongly. What an operation did is remembered, and a planner that keeps dying is left alone for a while, so no client
 * can keep planners from others by sending what kills them.
 */
export function createIsolatedPlanner(options: IsolatedPlannerOptions): QueryPlanner {
  const { supergraphSdl, log, now = Date.now } = options;
  const native = options.native ?? createPlannerPool({ planner: "hive", supergraphSdl, planTimeoutMs: 1_000, log });
  const fallback =
    options.fallback ?? createPlannerPool({ planner: "apollo", supergraphSdl, planTimeoutMs: 5_000, log });
  const nativeRest = createRest(now);
  const fallbackRest = createRest(now);
  /** By the request's hash: the native planner is not to be asked, or neither. */
  const verdicts = createLruCache<"fallback" | "none">({ maxEntries: 10_000 });

  function note(outcome: PlannerOutcome, planner: string, request: PlanRequest, key: string): void {
    log?.warn(
      { planner, outcome, operationName: request.operationName, operation: withoutLiterals(request.operation), key },
      "a query planner gave no plan",
    );
  }

  return {
    async plan(request) {
      const key = createHash("sha256").update(JSON.stringify(request)).digest("base64");
      const verdict = verdicts.get(key);
      if (verdict === "none") throw tooHard();
      if (verdict === undefined && !request.isSecondAttempt && !nativeRest.isOn()) {
        const outcome = await native.plan(request);
        if (outcome.kind === "planned") return outcome.plan;
        if (outcome.kind === "full") throw tooBusy();
        if (outcome.kind !== "unavailable") {
          note(outcome, "hive", request, key);
          verdicts.set(key, "fallback");
          if (outcome.kind !== "refused") nativeRest.addFailure();
        }
      }
      if (fallbackRest.isOn()) throw tooBusy();
      const outcome = await fallback.plan(request);
      if (outcome.kind === "planned") return outcome.plan;
      if (outcome.kind === "full" || outcome.kind === "unavailable") throw tooBusy();
      note(outcome, "apollo", request, key);
      verdicts.set(key, "none");
      if (outcome.kind === "refused")
        throw new ToolyardError("INTERNAL_SERVER_ERROR", "This operation could not be planned.");
      fallbackRest.addFailure();
      throw tooHard();
    },
    async close() {
      await Promise.all([native.close(), fallback.close()]);
    },
  };
}

function tooHard(): ToolyardError {
  return new ToolyardError(
    "BAD_USER_INPUT",
    "This operation is too hard to plan. Ask for less, or in several operations.",
  );
}

function tooBusy(): ToolyardError {
  return new ToolyardError("CAPACITY_EXHAUSTED", "Too many new operations wait to be planned. Try again in a moment.", {
    retryAfterSeconds: 5,
  });
}

const maxFailures = 5;
const windowMs = 60_000;
const restMs = 30_000;

/** Whether a planner that died several times within a minute is left alone. */
function createRest(now: () => number): { isOn(): boolean; addFailure(): void } {
  let failures: number[] = [];
  let until = 0;
  return {
    isOn: () => now() < until,
    addFailure() {
      const time = now();
      failures = [...failures.filter((earlier) => time - earlier < windowMs), time];
      if (failures.length < maxFailures) return;
      failures = [];
      until = time + restMs;
    },
  };
}

/** For the log, which must not have what a client wrote into strings. */
function withoutLiterals(operation: string): string {
  return operation.replaceAll(/"""[\s\S]*?"""|"(?:[^"\\]|\\.)*"/g, '"…"').slice(0, 4_000);
}
