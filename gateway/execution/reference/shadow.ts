import { setImmediate as yieldToEventLoop } from "node:timers/promises";
import type { ExecutionResult } from "graphql";
import type { Logger } from "@toolyard/service-kit";
import type { AdmittedOperation } from "../../admission/admission.ts";
import { differencesOf, type Differences } from "./answer-differences.ts";
import type { Engine, OperationRequest } from "../executor.ts";
import type { Graph, LiveGraph } from "../../supergraph/live-graph.ts";

/**
 * The outcome of a query sampled for the shadow. `unsettled`: the data changed in between, so that nothing was compared; `skipped`: too
 * many were under way, the supergraph changed, or only one of the two can run it; `failed`: it could not be compared.
 */
export type ShadowOutcome = "same" | "differed" | "unsettled" | "skipped" | "failed";

export interface ShadowOptions {
  graph: Pick<LiveGraph, "current" | "hold">;
  /** The share of queries, from 0 to 1. */
  share: number;
  /** The engine that answers, and the one it is compared with. */
  engines: readonly [answering: Engine, other: Engine];
  /** Called for each sampled query. */
  count: (outcome: ShadowOutcome) => void;
  log: Pick<Logger, "warn">;
  random?: () => number;
}

/**
 * Runs a share of the queries again, once they are answered, by the other engine, and logs differences: the operation's hash and the
 * places, no values. Data may change in between, so a difference counts when each engine has given it twice.
 */
export interface Shadow {
  /** Takes an operation that has its result. Returns at once, and never throws. */
  answered(operation: AnsweredOperation): void;
  /** Ends comparisons under way. */
  close(): Promise<void>;
}

export interface AnsweredOperation {
  /** On which it ran. */
  graph: Graph;
  request: OperationRequest;
  operation: Pick<AdmittedOperation, "kind" | "hash" | "name" | "document">;
  result: ExecutionResult;
}

/** How many may be compared at once. */
const MAX_CONCURRENT = 4;
const MAX_LOGGED_NAME = 64;
/** The same difference of the same operation is logged once, until so many others were. */
const MAX_KNOWN_DIFFERENCES = 1_000;

export function createShadow(options: ShadowOptions): Shadow {
  const { graph: live, share, engines, count, log, random = Math.random } = options;
  const [answering, other] = engines;
  const ending = new AbortController();
  const running = new Set<Promise<void>>();
  const known = new Set<string>();

  function runBy(engine: Engine, { graph, request }: AnsweredOperation): Promise<ExecutionResult> {
    const { query, operationName, variables, context } = request;
    // Without tracing: only the caller and the request's context.
    const { caller, requestId, clientAddress, scopes, policies, headers } = context;
    return graph.executor.execute({
      query,
      operationName,
      variables,
      context: {
        caller,
        requestId,
        clientAddress,
        ...(scopes && { scopes }),
        ...(policies && { policies }),
        ...(headers && { headers }),
      },
      signal: ending.signal,
      engine,
    });
  }

  async function compare(answered: AnsweredOperation): Promise<ShadowOutcome> {
    const { result, operation } = answered;
    const differencesBy = async (engine: Engine) => {
      const again = await runBy(engine, answered);
      // A result that was cut off is no answer.
      ending.signal.throwIfAborted();
      return differencesOf(result, again, operation.document);
    };
    // The answer is sent first.
    await yieldToEventLoop();
    if ((await differencesBy(other)) === null) return "same";
    if ((await differencesBy(answering)) !== null) return "unsettled";
    const differences = await differencesBy(other);
    if (differences === null) return "unsettled";
    tell(differences, answered);
    return "differed";
  }

  function tell(differences: Differences, { request, operation }: AnsweredOperation): void {
    const difference = operation.hash + JSON.stringify(differences);
    if (known.has(difference)) return;
    if (known.size >= MAX_KNOWN_DIFFERENCES) known.clear();
    known.add(difference);
    log.warn(
      {
        request_id: request.context.requestId,
        operation: operation.name?.slice(0, MAX_LOGGED_NAME),
        hash: operation.hash,
        engines,
        ...differences,
      },
      "two executors answered a query differently",
    );
  }

  return {
    answered(answered) {
      if (answered.operation.kind !== "query" || random() >= share) return;
      const { graph, request } = answered;
      const canRun = running.size < MAX_CONCURRENT && !ending.signal.aborted && graph === live.current;
      if (!canRun || !graph.executor.isForApollo(request)) {
        count("skipped");
        return;
      }
      const { release } = live.hold();
      const run = compare(answered)
        // A value that is nested too deeply to be walked through, for example: the message could have some of it.
        .catch((): ShadowOutcome => (ending.signal.aborted ? "skipped" : "failed"))
        .then((outcome) => {
          count(outcome);
          running.delete(run);
          release();
        });
      running.add(run);
    },
    async close() {
      ending.abort(new Error("The gateway ends."));
      await Promise.all(running);
    },
  };
}
