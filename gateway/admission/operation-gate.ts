import type { ExecutionResult } from "graphql";
import { GraphQLError } from "graphql";
import { isPublic, type Logger } from "@toolyard/service-kit";
import { noRequestLog, printable, type RequestLog } from "@toolyard/service-kit/http/request-log.ts";
import type { AdmittedOperation } from "./admission.ts";
import type { CallerLimits } from "./caller-limits.ts";
import type { Executor, GraphRequest } from "../execution/executor.ts";
import type { OperationContext } from "../execution/clients/subgraph-client.ts";
import type { Graph, LiveGraph } from "../supergraph/live-graph.ts";
import { hasOnlyOpenFields } from "./open-operations.ts";
import type { FetchTiming, OperationMetrics } from "../observability/operation-metrics.ts";
import { followGraph } from "../subscriptions/resubscription.ts";
import type { Shadow } from "../execution/reference/shadow.ts";
import { logPositionOf } from "../subscriptions/log-position.ts";
import { createSharedUpstreams } from "../subscriptions/shared-upstreams.ts";
import type { SubscriptionEngine } from "../subscriptions/subscription-engine.ts";
import type { OperationSpan, OperationTracer } from "../observability/operation-tracer.ts";
import type { UsageOfRequest, UsageReporting } from "../observability/usage-reporting.ts";

/** What the gateway adds to an operation's context on its way to the subgraphs. */
export interface GatewayContext extends OperationContext {
  /** Filled as fetches end. */
  fetches?: FetchTiming[];
  /** The plan is answered with the result. */
  wantsPlan?: boolean;
  /** Records the operation as part of its trace. */
  tracer?: OperationTracer;
  /** It came on a socket, with no request of its own that has a line in the log. */
  isOnSocket?: boolean;
  /** What usage reports say of who asks. */
  usage?: UsageOfRequest;
}

export interface OperationGateOptions {
  graph: LiveGraph;
  callerLimits: CallerLimits;
  metrics: OperationMetrics;
  /** Operations that take longer are logged with their plan; null: none are. */
  slowOperationMs: number | null;
  /** Mutations by which one logs in: open to senders of bad credentials, too, as are introspection and `__typename`. */
  openMutations?: readonly string[];
  /** Whether subgraphs are told who calls; else callers that may see the same share their subscriptions' streams. */
  subgraphsKnowCallers?: boolean;
  /** Answers an error of an unknown kind with neutral words: what a subgraph says of its inner workings is for the log. */
  maskErrors: boolean;
  /** Told of operations, but for those whose context says nothing for it; null: nothing is reported. */
  usage?: UsageReporting | null;
  /** Told of operations' results; null: nothing is compared. */
  shadow?: Pick<Shadow, "answered"> | null;
  log: Logger;
  /** For operations without a request of their own. */
  requestLog?: RequestLog;
}

/**
 * The one way to the executor for what comes from outside, whatever protocol it came by: limits before, metrics and neutral errors
 * after. It has the executor's own interface; `inspect` is called once for each operation and counts it against its caller's rate.
 * Its subscriptions are bounded, and share what they can.
 */
export type OperationGate = Pick<Executor, "inspect" | "execute"> & SubscriptionEngine;

/** Of names that clients choose. */
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
    }: Pick<GraphRequest, "query" | "operationName" | "clientText" | "context">,
  ) => admissionOf(graph, context).admit(query, operationName ?? null, clientText);

  /** A line for an operation on a socket, and for each subscription, since errors of its events bear its request's id. */
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

  /** The admitted operation, once what depends on variables and caller is checked, too. */
  function begin(
    graph: Graph,
    request: GraphRequest,
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

  /** Whose recorded subscription opened a stream last. */
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

  async function execute(request: GraphRequest): Promise<ExecutionResult> {
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
      const { operation, leave } = begun;
      const warnings: string[] = [];
      // Subgraphs of others have no say in what Toolyard's clients read here.
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
          await logSlow(graph, request, operation, durationMs);
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
    request: GraphRequest,
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

  async function planOf(graph: Graph, request: GraphRequest): Promise<unknown> {
    try {
      return await graph.executor.explain(request);
    } catch (error) {
      if (error instanceof GraphQLError) return null; // said by the result's own errors
      throw error;
    }
  }

  /** Errors as clients may see them: with the request's id, and without what is the subgraphs' own business. */
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

  function subscribe(request: GraphRequest): AsyncGenerator<ExecutionResult, void, void> {
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
    let hasLeft = false;
    const leaveWithNote = () => {
      leaveLimits();
      if (!hasLeft) note(context, operation, { status: "ended", durationMs: performance.now() - begunAt });
      hasLeft = true;
    };
    // Ten thousand that are open are each as small as can be.
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
    // Whoever joins another's stream has begun with that; whoever opens one, once the subgraph is asked.
    if (opener !== within) span.end();
    opener = null;
    return results;
  }

  function open(
    request: GraphRequest,
    onEnd: () => void,
    span?: OperationSpan,
  ): AsyncGenerator<ExecutionResult, void, void> {
    return shared.subscribe(request, {
      onEnd,
      present(result) {
        if (!result.errors) return result;
        span?.end(result.errors);
        return { ...result, errors: named(result.errors, request.context) };
      },
    });
  }

  function inspect(
    request: Parameters<Executor["inspect"]>[0],
  ): AdmittedOperation | { errors: readonly GraphQLError[] } {
    try {
      // A graph of others knows nobody, or lets everybody in.
      const isNew = subgraphsKnowCallers && !admissionOf(live.current, request.context).knows(request.query);
      callerLimits.charge(request.context, isNew);
    } catch (error) {
      return { errors: named([refusal(error)], request.context) };
    }
    const admitted = admit(live.current, request);
    const { refusal: badCredential } = request.context.caller;
    if (badCredential && !("hash" in admitted && hasOnlyOpenFields(admitted, openMutations)))
      return { errors: named([refusal(badCredential)], request.context) };
    if ("hash" in admitted) return admitted;
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

/** The code that a client acts on. */
function codeOf([error]: readonly GraphQLError[]): string {
  const code = error?.extensions["code"];
  return typeof code === "string" ? printable(code, MAX_LOGGED_NAME) : "error";
}

/** All of a caller that results may depend on where subgraphs are not told who it is. */
function rightsAndHeaders({ caller, headers, scopes, policies }: OperationContext): unknown {
  return [caller.kind, caller.scopes, scopes, policies, headers];
}

/** What is thrown to refuse an operation, as its error. */
function refusal(error: unknown): GraphQLError {
  if (!isPublic(error)) throw error;
  return new GraphQLError(error.message, { extensions: { ...error.extensions } });
}

async function* single(result: ExecutionResult): AsyncGenerator<ExecutionResult, void, void> {
  yield result;
}
