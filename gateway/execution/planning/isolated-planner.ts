import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";
import { ToolyardError, type Logger } from "@toolyard/service-kit";
import { createPlannerPool, type PlannerOutcome, type PlannerPool } from "./planner-pool.ts";
import type { PlanRequest, QueryPlanner } from "./query-planner.ts";

export interface IsolatedPlannerOptions {
  supergraphSdl: string;
  log?: Pick<Logger, "warn"> | undefined;
  /** Told of each operation whose plan was not taken from a planner, once for each planner. */
  onReplaced?: ((replaced: ReplacedPlan) => void) | undefined;
  /** The native planner, and the one to ask when it does not answer. */
  native?: PlannerPool;
  fallback?: PlannerPool;
  /** How long to wait for the second, which may have to start, before an operation is planned step by step. */
  patienceMs?: number;
  /** Epoch milliseconds. */
  now?: () => number;
}

export interface ReplacedPlan {
  planner: "hive" | "apollo";
  /** The reason: the plan was found to be wrong, or there was none. */
  reason: "wrong" | "refused" | "died" | "late";
  /** The hash of the operation as it was to be planned. */
  hash: string;
}

type Stage = "native" | "fallback" | "stepwise" | "none";

/**
 * Plans in other processes: by the native planner; by Apollo's where the native one dies, stalls, refuses or is wrong (see
 * plan-rehearsal.ts); step by step where Apollo's does as well (see stepwise-planner.ts). Failures are remembered by operation, and a
 * planner that keeps dying is left alone for a while, so no client can deprive others of planners by sending operations that kill them.
 */
export function createIsolatedPlanner(options: IsolatedPlannerOptions): QueryPlanner {
  const { supergraphSdl, log, onReplaced, patienceMs = 2_000, now = Date.now } = options;
  const native =
    options.native ?? createPlannerPool({ planner: "hive", supergraphSdl, planTimeoutMs: 1_500, isEager: true, log });
  const fallback =
    options.fallback ?? createPlannerPool({ planner: "apollo", supergraphSdl, planTimeoutMs: 1_500, log });
  const nativeRest = createRest(now);
  const fallbackRest = createRest(now);
  /** By the request's hash: the planner to ask first. */
  const verdicts = new LRUCache<string, Stage>({ max: 10_000 });

  function note(planner: "hive" | "apollo", outcome: PlannerOutcome, request: PlanRequest, hash: string): void {
    if (outcome.kind === "unavailable" || outcome.kind === "full") return;
    const reason = outcome.kind === "planned" ? "wrong" : outcome.kind;
    onReplaced?.({ planner, reason, hash });
    const { operationName, operation } = request;
    log?.warn(
      { planner, outcome: shown(outcome), operationName, operation: withoutLiterals(operation), hash },
      outcome.kind === "planned" ? "a query plan was wrong and is replaced" : "a query planner gave no plan",
    );
  }

  /** A right plan by one of the two; null when another is to be asked. */
  async function ask(pool: PlannerPool, request: PlanRequest, hash: string) {
    const isNative = pool === native;
    const rest = isNative ? nativeRest : fallbackRest;
    if (rest.isOn()) return null;
    const outcome = isNative ? await pool.plan(request) : await within(pool.plan(request), patienceMs);
    if (outcome?.kind === "planned" && outcome.fault === null) return outcome.plan;
    if (outcome?.kind === "full") throw tooBusy();
    // It may still be starting, or busy: that says nothing about the operation.
    if (!outcome || outcome.kind === "unavailable") return null;
    note(isNative ? "hive" : "apollo", outcome, request, hash);
    // An operation too large for the one takes the other longer still.
    verdicts.set(hash, isNative && outcome.kind !== "late" ? "fallback" : "stepwise");
    if (outcome.kind === "died" || outcome.kind === "late") rest.addFailure();
    return null;
  }

  async function planStepwise(request: PlanRequest, hash: string) {
    let outcome = await native.plan(request, true);
    // The process is the native planner's, and may have ended with it.
    if (outcome.kind === "unavailable" || outcome.kind === "died") outcome = await fallback.plan(request, true);
    switch (outcome.kind) {
      case "planned":
        return outcome.plan;
      case "refused":
        log?.warn({ outcome, operation: withoutLiterals(request.operation), hash }, "an operation has no plan");
        throw new ToolyardError("INTERNAL_SERVER_ERROR", "This operation could not be planned.");
      case "late":
      case "died":
        verdicts.set(hash, "none");
        throw tooHard();
      default:
        throw tooBusy();
    }
  }

  return {
    async plan(request) {
      const hash = createHash("sha256").update(JSON.stringify(request)).digest("base64url");
      const stageOf = () => verdicts.get(hash) ?? "native";
      if (stageOf() === "none") throw tooHard();
      const plan =
        (stageOf() === "native" ? await ask(native, request, hash) : null) ??
        (stageOf() === "stepwise" ? null : await ask(fallback, request, hash));
      return plan ?? planStepwise(request, hash);
    },
    async close() {
      await Promise.all([native.close(), fallback.close()]);
    },
  };
}

/** Null when it takes longer. */
async function within(outcome: Promise<PlannerOutcome>, timeMs: number): Promise<PlannerOutcome | null> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), timeMs);
  });
  try {
    return await Promise.race([outcome, late]);
  } finally {
    clearTimeout(timer);
  }
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

const MAX_FAILURES = 5;
const WINDOW_MS = 60_000;
const REST_MS = 30_000;

/** Whether a planner that died several times within a minute is left alone. */
function createRest(now: () => number): { isOn(): boolean; addFailure(): void } {
  let failures: number[] = [];
  let until = 0;
  return {
    isOn: () => now() < until,
    addFailure() {
      const time = now();
      failures = [...failures.filter((earlier) => time - earlier < WINDOW_MS), time];
      if (failures.length < MAX_FAILURES) return;
      failures = [];
      until = time + REST_MS;
    },
  };
}

function shown(outcome: PlannerOutcome): unknown {
  if (outcome.kind !== "planned") return outcome;
  const plan = JSON.stringify(outcome.plan.node).replaceAll(/\\"(?:(?!\\").)*\\"/g, '\\"…\\"');
  return { fault: withoutLiterals(outcome.fault ?? ""), plan: plan.slice(0, 8_000) };
}

/** For the log, which must not have text that a client wrote into strings. */
function withoutLiterals(operation: string): string {
  return operation.replaceAll(/"""[\s\S]*?"""|"(?:[^"\\]|\\.)*"/g, '"…"').slice(0, 4_000);
}
