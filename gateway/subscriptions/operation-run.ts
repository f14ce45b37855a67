import type { ExecutionResult, GraphQLError } from "graphql";
import type { Executor, GraphRequest, InspectedOperation } from "../execution/executor.ts";
import type { SubscriptionEngine } from "./subscription-engine.ts";

/** What runs operations, whatever protocol they came by. */
export interface OperationPorts {
  executor: Pick<Executor, "inspect" | "execute">;
  engine: Pick<SubscriptionEngine, "subscribe">;
}

/** An operation that runs. */
export interface OperationRun {
  kind: InspectedOperation["kind"];
  /** One result of a query or a mutation, all results of a subscription. One without `data` is the last: nothing more can come. */
  results: AsyncGenerator<ExecutionResult, void, void>;
  /** Releases everything at once; `results` end. */
  stop(): void;
}

/**
 * Starts an operation of any kind, or says why it cannot be run.
 *
 * @param inspected What it is, where that is known: to ask the executor counts as one operation of the caller's.
 */
export function runOperation(
  { executor, engine }: OperationPorts,
  request: Omit<GraphRequest, "signal">,
  inspected: ReturnType<Executor["inspect"]> = executor.inspect(request),
): OperationRun | { errors: readonly GraphQLError[] } {
  if ("errors" in inspected) return inspected;
  const { kind } = inspected;
  // Returning from a subscription ends it at once; a query has to be told.
  const controller = kind === "subscription" ? null : new AbortController();
  const results = controller
    ? one(() => executor.execute({ ...request, signal: controller.signal }))
    : engine.subscribe(request);
  return {
    kind,
    results,
    stop() {
      controller?.abort();
      // A failure after the end is nobody's any more.
      void results.return().catch(() => undefined);
    },
  };
}

async function* one(execute: () => Promise<ExecutionResult>): AsyncGenerator<ExecutionResult, void, void> {
  yield await execute();
}
