import type { ExecutionResult, GraphQLError } from "graphql";
import type { Executor, OperationRequest, InspectedOperation } from "../execution/executor.ts";
import type { SubscriptionEngine } from "./subscription-engine.ts";

/** Runs operations, whichever protocol they came by. */
export interface OperationPorts {
  executor: Pick<Executor, "inspect" | "execute">;
  engine: Pick<SubscriptionEngine, "subscribe">;
}

/** A running operation. */
export interface OperationRun {
  kind: InspectedOperation["kind"];
  /** The one result of a query or a mutation, or all results of a subscription. A result without `data` is the last. */
  results: AsyncGenerator<ExecutionResult, void, void>;
  /** Releases everything at once; `results` ends. */
  stop(): void;
}

/**
 * Starts an operation of any kind, or says why it cannot be run.
 *
 * @param inspected The admitted operation, where it is known: each call of the executor's `inspect` counts against the caller's rate.
 */
export function runOperation(
  { executor, engine }: OperationPorts,
  request: Omit<OperationRequest, "signal">,
  inspected: ReturnType<Executor["inspect"]> = executor.inspect(request),
): OperationRun | { errors: readonly GraphQLError[] } {
  if ("errors" in inspected) return inspected;
  const { kind } = inspected;
  // Returning from a subscription ends it at once; a query needs the signal.
  const controller = kind === "subscription" ? null : new AbortController();
  const results = controller
    ? one((signal) => executor.execute({ ...request, signal }), controller.signal)
    : engine.subscribe(request);
  return {
    kind,
    results,
    stop() {
      controller?.abort();
      // A failure after the end has nobody to be reported to.
      void results.return().catch(() => undefined);
    },
  };
}

async function* one(
  execute: (signal: AbortSignal) => Promise<ExecutionResult>,
  signal: AbortSignal,
): AsyncGenerator<ExecutionResult, void, void> {
  const result = await execute(signal);
  // Of an operation that was stopped it says that it was, to nobody.
  if (!signal.aborted) yield result;
}
