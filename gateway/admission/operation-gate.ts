import type { ExecutionResult } from "graphql";
import { GraphQLError } from "graphql";
import { isPublic, sliceAfter, type Logger } from "@toolyard/service-kit";
import { noRequestLog, printable, type RequestLog } from "@toolyard/service-kit/http/request-log.ts";
import type { AdmittedOperation } from "./admission.ts";
import type { CallerLimits } from "./caller-limits.ts";
import type { Executor, OperationRequest } from "../execution/executor.ts";
import type { OperationContext } from "../execution/clients/subgraph-client.ts";
import type { Graph, LiveGraph } from "../supergraph/live-graph.ts";
import { hasOnlyOpenFields } from "./open-operations.ts";
import type { Quota } from "./quotas.ts";
import { rootFieldsOf } from "./root-fields.ts";
import type { FetchTiming, OperationMetrics } from "../observability/operation-metrics.ts";
import { followGraph } from "../subscriptions/resubscription.ts";
import type { Shadow } from "../execution/reference/shadow.ts";
import { logPositionOf } from "../subscriptions/log-position.ts";
import { createSharedUpstreams } from "../subscriptions/shared-upstreams.ts";
import type { SubscriptionEngine } from "../subscriptions/subscription-engine.ts";
import type { OperationSpan, OperationTracer } from "../observability/operation-tracer.ts";
import type { UsageOfRequest } from "../observability/usage-report.ts";
import type { UsageReporting } from "../observability/usage-reporting.ts";

/** The gateway's additions to an operation's context on its way to the subgraphs. */
export interface GatewayContext extends OperationContext {
  /** Filled as fetches end. */
  fetches?: FetchTiming[];
  /** The plan is sent with the result. */
  wantsPlan?: boolean;
  /** Records the operation as part of its trace. */
  tracer?: OperationTracer;
  /** The operation came on a socket, without a request of its own that has a line in the log. */
  isOnSocket?: boolean;
  /** Filled as the operation is counted against them. */
  quotas?: Quota[];
  /** The caller as usage reports show it. */
  usage?: UsageOfRequest;
}

export interface OperationGateOptions {
  graph: LiveGraph;
  callerLimits: CallerLimits;
  metrics: OperationMetrics;
  /** Operations that take longer are logged with their plan; null: none are. */
  slowOperationMs: number | null;
  /** Login mutations: open to callers with bad credentials as well, as are introspection and `__typename`. */
  openMutations?: readonly string[];
  /** Whether subgraphs are told the caller; else callers with the same view share their subscriptions' streams. */
  subgraphsKnowCallers?: boolean;
  /** Answers an error of an unknown kind with neutral words: details of a subgraph's inner workings belong in the log. */
  maskErrors: boolean;
  /** Told of operations, except those whose context has nothing for it; null: nothing is reported. */
  usage?: UsageReporting | null;
  /** Told of operations' results; null: nothing is compared. */
  shadow?: Pick<Shadow, "answered"> | null;
  log: Logger;
  /** For operations without a request of their own. */
  requestLog?: RequestLog;
}

/**
 * The one way to the executor for all outside requests, whichever protocol they came by: limits before, metrics and neutral errors
 * after. It has the executor's own interface; `inspect` is called once for each operation and counts it against its caller's rate.
 * Its subscriptions are bounded, and share streams where they can.
 */
export type OperationGate = Pick<Executor, "inspect" | "execute"> & SubscriptionEngine;

/** Longest logged name that a client chose. */
const MAX_LOGGED_NAME = 64;

export function createOperationGate(options: OperationGateOptions): OperationGate {
  const { graph: live, callerLimits, metrics, slowOperationMs, maskErrors, log } = options;
  const { subgraphsKnowCallers = true, usage = null, shadow = null, requestLog = noRequestLog } = options;
  const openMutations = new Set(options.openMutations);

  const admissionOf = (graph: Graph, { caller }: OperationContext) =>
    graph.admission[caller.kind === "service" ? "internal" : "public"];

  const admit = (
    graph: Graph,
    {
      query,
      operationName,
      clientText,
      context,
    }: Pick<OperationRequest, "query" | "operationName" | "clientText" | "context">,
  ) => admissionOf(graph, context).admit(query, operationName ?? null, clientText);

  /** Logs an operation on a socket, and each subscription, since errors of its events bear its request's id. */
  function note(
    { requestId, caller, isOnSocket = false }: GatewayContext,
    operation: Pick<AdmittedOperation, "kind" | "name"> | null,
    what: { status: string; durationMs?: number },
  ): void {
    if (!requestLog.isOn || caller.kind === "service" || (!isOnSocket && what.status !== "begun")) return;
    requestLog.write(
      {
        request_id: requestId,
        user_id: caller.userId,
        operation: operation?.name?.slice(0, MAX_LOGGED_NAME),
        kind: operation?.kind,
        status: what.status,
        duration_ms: what.durationMs === undefined ? undefined : Math.round(what.durationMs * 100) / 100,
      },
      "operation",
    );
  }

  /** The admitted operation, once the checks that depend on variables and caller have passed as well. */
  function begin(
    graph: Graph,
    request: OperationRequest,
    kind: "operation" | "subscription",
  ): { operation: AdmittedOperation; leave: () => void } | { errors: readonly GraphQLError[] } {
    const operation = admit(graph, request);
    if (!("hash" in operation)) return { errors: operation };
    const costly = operation.costError(request.variables ?? {});
    if (costly) return { errors: [costly] };
    try {
      return { operation, leave: callerLimits.enter(kind, request.context) };
    } catch (error) {
      return { errors: [refusal(error)] };
    }
  }

  /** The recorded subscription that opened a stream last. */
  let opener: OperationContext | null = null;
  const shared = createSharedUpstreams({
    open(request) {
      if (request.context.trace) opener = request.context;
      return followGraph({ live, request, admit: (graph) => admit(graph, request) });
    },
    positionOf(request) {
      const admitted = admit(live.current, request);
      return "hash" in admitted ? logPositionOf(admitted, request) : null;
    },
    ...(!subgraphsKnowCallers && { identityOf: rightsAndHeaders }),
  });

  async function execute(request: OperationRequest): Promise<ExecutionResult> {
    const startedAt = performance.now();
    const context: GatewayContext = request.context;
    if (slowOperationMs !== null) context.fetches = [];
    return live.use(async (graph) => {
      const begun = begin(graph, request, "operation");
      if ("errors" in begun) {
        metrics.operation(null, "error", 0);
        note(context, null, { status: codeOf(begun.errors) });
        return { errors: named(begun.errors, context) };
      }
      const slice = sliceAfter(startedAt);
      if (slice) await slice;
      const { operation, leave } = begun;
      const warnings: string[] = [];
      // Warnings of third-party subgraphs are not for Toolyard's clients.
      if (subgraphsKnowCallers && operation.kind === "mutation")
        context.warn = (warning) => void warnings.push(warning);
      const span = context.tracer?.operation(operation, startedAt);
      try {
        const result = await graph.executor.execute({
          ...request,
          context: span ? span.inside(context) : context,
        });
        span?.end(result.errors);
        shadow?.answered({ graph, request, operation, result });
        const durationMs = performance.now() - startedAt;
        metrics.operation(operation, result.errors ? "error" : "ok", durationMs / 1_000);
        note(context, operation, { status: result.errors ? codeOf(result.errors) : "ok", durationMs });
        if (context.usage) usage?.executed(operation, context.usage, durationMs, result.errors);
        if (slowOperationMs !== null && durationMs > slowOperationMs)
          logSlow(graph, request, operation, durationMs).catch((error: unknown) =>
            log.error({ err: error, request_id: context.requestId }, "a slow operation could not be logged"),
          );
        const answer = result.errors ? { ...result, errors: named(result.errors, context) } : result;
        if (!context.wantsPlan && warnings.length === 0) return answer;
        const extensions = {
          ...(warnings.length > 0 && { warnings }),
          ...(context.wantsPlan && { plan: await planOf(graph, request) }),
        };
        return { ...answer, extensions };
      } finally {
        span?.end();
        leave();
      }
    });
  }

  async function logSlow(
    graph: Graph,
    request: OperationRequest,
    operation: AdmittedOperation,
    durationMs: number,
  ): Promise<void> {
    const { requestId, caller, fetches = [] }: GatewayContext = request.context;
    log.warn(
      {
        request_id: requestId,
        user_id: caller.userId,
        operation: operation.name,
        hash: operation.hash,
        duration_ms: Math.round(durationMs),
        fetches: fetches.map(({ subgraph, durationMs: ms, failed }) => ({
          subgraph,
          duration_ms: Math.round(ms),
          ...(failed && { failed }),
        })),
        plan: await planOf(graph, request),
      },
      "a slow operation",
    );
  }

  async function planOf(graph: Graph, request: OperationRequest): Promise<unknown> {
    try {
      return await graph.executor.explain(request);
    } catch (error) {
      if (error instanceof GraphQLError) return null; // said by the result's own errors
      throw error;
    }
  }

  /** Errors as clients may see them: with the request's id, and without the subgraphs' internals. */
  function named(errors: readonly GraphQLError[], { requestId }: OperationContext): readonly GraphQLError[] {
    return errors.map((error) => {
      const { stacktrace, exception, ...extensions } = error.extensions;
      const isInternal =
        maskErrors && extensions["code"] === "INTERNAL_SERVER_ERROR" && extensions["service"] !== undefined;
      if (isInternal || stacktrace !== undefined || exception !== undefined) {
        log.info(
          { request_id: requestId, subgraph: extensions["service"], path: error.path, reason: error.message },
          "a subgraph answered an error",
        );
      }
      return new GraphQLError(
        isInternal
          ? `The subgraph "${String(extensions["service"])}" failed. The log has more under this request id.`
          : error.message,
        {
          nodes: error.nodes ?? null,
          source: error.source ?? null,
          positions: error.positions ?? null,
          path: error.path ?? null,
          extensions: { ...extensions, requestId },
        },
      );
    });
  }

  function subscribe(request: OperationRequest): AsyncGenerator<ExecutionResult, void, void> {
    const begun = begin(live.current, request, "subscription");
    if ("errors" in begun) {
      note(request.context, null, { status: codeOf(begun.errors) });
      return single({ errors: named(begun.errors, request.context) });
    }
    const { operation, leave: leaveLimits } = begun;
    metrics.subscription(operation);
    const context: GatewayContext = request.context;
    const begunAt = performance.now();
    note(context, operation, { status: "begun" });
    const leaveWithNote = () => {
      leaveLimits();
      note(context, operation, { status: "ended", durationMs: performance.now() - begunAt });
    };
    // Ten thousand may be open, so each is kept small.
    const leave = requestLog.isOn ? leaveWithNote : leaveLimits;
    if (context.usage) usage?.executed(operation, context.usage, 0, undefined);
    const span = context.tracer?.operation(operation, performance.now());
    if (!span) return open(request, leave);
    const within = span.inside(context);
    const results = open(
      { ...request, context: within },
      () => {
        span.end();
        leave();
      },
      span,
    );
    // A subscription that joins a stream has begun with that; one that opens a stream begins once the subgraph is asked.
    if (opener !== within) span.end();
    opener = null;
    return results;
  }

  function open(
    request: OperationRequest,
    onEnd: () => void,
    span?: OperationSpan,
  ): AsyncGenerator<ExecutionResult, void, void> {
    try {
      return shared.subscribe(request, {
        onEnd,
        present(result) {
          if (!result.errors) return result;
          span?.end(result.errors);
          return { ...result, errors: named(result.errors, request.context) };
        },
      });
    } catch (error) {
      onEnd();
      throw error;
    }
  }

  function inspect(
    request: Parameters<Executor["inspect"]>[0],
  ): AdmittedOperation | { errors: readonly GraphQLError[] } {
    try {
      // A third-party graph may know no callers, or let everybody in.
      const isNew = subgraphsKnowCallers && !admissionOf(live.current, request.context).knows(request.query);
      callerLimits.charge(request.context, isNew);
    } catch (error) {
      return { errors: named([refusal(error)], request.context) };
    }
    const admitted = admit(live.current, request);
    const { refusal: badCredential } = request.context.caller;
    if (badCredential && !("hash" in admitted && hasOnlyOpenFields(admitted, openMutations)))
      return { errors: named([refusal(badCredential)], request.context) };
    if ("hash" in admitted) {
      try {
        callerLimits.chargeFields(request.context, rootFieldsOf(admitted).values());
      } catch (error) {
        return { errors: named([refusal(error)], request.context) };
      }
      return admitted;
    }
    const context: GatewayContext = request.context;
    if (context.usage) usage?.refused(admitted, context.usage, live.current.executor.apiSchema);
    return { errors: named(admitted, request.context) };
  }

  return {
    inspect(request) {
      const inspected = inspect(request);
      if ("errors" in inspected) note(request.context, null, { status: codeOf(inspected.errors) });
      return inspected;
    },
    execute,
    subscribe,
    get activeStreams() {
      return shared.activeReaders;
    },
    get droppedEvents() {
      return shared.droppedResults;
    },
  };
}

/** The code that clients act on. */
function codeOf([error]: readonly GraphQLError[]): string {
  const code = error?.extensions["code"];
  return typeof code === "string" ? printable(code, MAX_LOGGED_NAME) : "error";
}

/** The part of a caller that results may depend on where subgraphs are not told the caller. */
function rightsAndHeaders({ caller, headers, scopes, policies }: OperationContext): unknown {
  return [caller.kind, caller.scopes, scopes, policies, headers];
}

/** The error for a refused operation. */
function refusal(error: unknown): GraphQLError {
  if (!isPublic(error)) throw error;
  return new GraphQLError(error.message, { extensions: { ...error.extensions } });
}

async function* single(result: ExecutionResult): AsyncGenerator<ExecutionResult, void, void> {
  yield result;
}
