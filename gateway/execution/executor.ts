import { GraphQLError, Kind, type DocumentNode, type ExecutionResult, type GraphQLSchema } from "graphql";
import { sliceAfter, type Caller, type Logger } from "@toolyard/service-kit";
import { messageOf } from "@toolyard/service-kit/errors/errors.ts";
import { graphqlError } from "@toolyard/service-kit/errors/graphql-error.ts";
import { createApiSchema } from "./schema/api-schema.ts";
import { INTERNAL_TAG } from "./schema/inaccessible-tags.ts";
import { createApolloQueries } from "./reference/apollo-queries.ts";
import { createAuthorization } from "./schema/authorization.ts";
import { createErrorPaths } from "./running/error-paths.ts";
import { createLifetime, type Execution, type Json, type Lifetime } from "./running/execution.ts";
import type { Operation } from "./operation.ts";
import { withPlainNumbers } from "./running/exact-variables.ts";
import { createIsolatedPlanner, type ReplacedPlan } from "./planning/isolated-planner.ts";
import type { AbortSignalLike } from "@toolyard/service-kit/process/light-abort.ts";
import {
  createPreparedOperations,
  type HotOperation,
  type OperationText,
  type Variant,
  type VariantChoice,
} from "./prepared-operations.ts";
import { createDocuments, tooDeep, type DocumentChecks, type Documents } from "./documents.ts";
import { askedErrors } from "./running/relevant-errors.ts";
import type { ResponsePath } from "./running/projection.ts";
import type { QueryPlan } from "./planning/query-plan.ts";
import type { QueryPlanner } from "./planning/query-planner.ts";
import { createSharedReads } from "./running/shared-reads.ts";
import { later, streamResults } from "./running/result-stream.ts";
import type { OperationContext, SubgraphClient } from "./clients/subgraph-client.ts";
import { parseSupergraph } from "./schema/supergraph.ts";
import { variableValues } from "./running/variable-values.ts";
import { createVariantChoice } from "./variant-choice.ts";

export interface OperationRequest {
  query: string;
  operationName?: string | null | undefined;
  variables?: Record<string, unknown> | null | undefined;
  context: OperationContext;
  /** The text that the client sent, where `query` was derived from it. */
  clientText?: string;
  /** Ends the operation when the client is gone. */
  signal?: AbortSignalLike | undefined;
  /** Called once the subgraph has accepted a subscription. */
  onOpen?: (() => void) | undefined;
  /** Whether whoever asks tries again and again, and logs an outage once: failures to open are not logged then. */
  isRetried?: boolean | undefined;
  /** `query` parsed and validated against `apiSchema` already, as Apollo Server does it; else that is done here. */
  validDocument?: DocumentNode | undefined;
  /** Which of the executor's engines runs it; see `ExecutorOptions.engines`. */
  engine?: Engine | undefined;
}

/** An engine for queries and mutations: this executor's own plans, or the stock `@apollo/gateway`. */
export const ENGINES = ["toolyard", "apollo"] as const;
export type Engine = (typeof ENGINES)[number];

/** The audience of a schema: everybody, or services only. */
type Audience = "public" | "internal";

export interface Executor {
  /** Rejects when a required engine does not accept the supergraph. */
  readonly ready: Promise<void>;
  /** The public schema. */
  readonly apiSchema: GraphQLSchema;
  /** The schema with elements for services only. */
  readonly internalApiSchema: GraphQLSchema;
  readonly supergraphSdl: string;
  /** The documents that are valid against the one schema and the other. */
  readonly documents: Readonly<Record<Audience, Documents>>;
  /** The request's one operation, or the reason why it cannot be run. Cached, like everything that depends on the text only. */
  inspect(
    request: Pick<OperationRequest, "query" | "operationName" | "context">,
  ): InspectedOperation | { errors: readonly GraphQLError[] };
  /**
   * Runs a query or a mutation. Never rejects: every failure is in `errors` with a code, and available data is in `data`.
   * A result without `data` means that nothing was run.
   */
  execute(request: OperationRequest): Promise<ExecutionResult>;
  /**
   * Whether the stock gateway can run a query or a mutation. It cannot run introspection, or operations with fields that the caller may
   * not have, as it knows no authorization. Those are run by the executor's own plans, whichever engine is asked for.
   */
  isForApollo(request: OperationRequest): boolean;
  /**
   * Starts a subscription: results as they come, none lost or reordered, taken from the subgraph no faster than from here. A stream
   * that breaks ends with a result that has errors. Returning from the generator or aborting `signal` releases everything.
   */
  subscribe(request: OperationRequest): AsyncGenerator<ExecutionResult, void, void>;
  /** The plan of an operation, for people. Rejects with GraphQLError when it is not valid. */
  explain(request: Pick<OperationRequest, "query" | "operationName" | "variables" | "context">): Promise<QueryPlan>;
  /** The operations run most since they were planned, most first: for `warm` of the executor that takes over. */
  hottestOperations(limit: number): WarmOperation[];
  /** Plans operations before they are asked for; those that are no longer valid here are skipped. */
  warm(operations: readonly WarmOperation[], signal?: AbortSignal): Promise<{ planned: number; failed: number }>;
  /** Ends the planner's processes and forgets all plans. Running operations and subscriptions go on. */
  close(): Promise<void>;
}

interface WarmOperation extends HotOperation {
  audience: Audience;
}

export interface InspectedOperation {
  kind: Operation["kind"];
  name: string | null;
  /** The operation and the fragments of its document. */
  document: DocumentNode;
  /** The schema it is valid against. */
  schema: GraphQLSchema;
}

export interface ExecutorOptions {
  supergraphSdl: string;
  /** One for each subgraph of the supergraph; the executor does not close them. */
  clients: readonly SubgraphClient[];
  /** The longest that one operation, or the fetches for one event, may take. */
  timeoutMs?: number;
  /**
   * The total size of prepared operations, in bytes, by estimate: the public ones and the internal ones each. Only tests set it: to
   * fill as much as is the default takes more than ten thousand plans.
   */
  maxCachedBytes?: number;
  /** False where subgraphs are told nothing of callers but the headers that are passed on: then callers with equal headers share reads. */
  subgraphsKnowCallers?: boolean;
  /** Called for plans that the executor rejects: see isolated-planner.ts. */
  onReplacedPlan?: ((replaced: ReplacedPlan) => void) | undefined;
  /** Closed with the executor. */
  planner?: QueryPlanner;
  /** Labels of progressive `@override`s that are on for an operation: for programs that embed the executor. The gateway has none on. */
  overrideLabelsOf?: (context: OperationContext) => readonly string[];
  /** Where in 0 to 100 an operation falls for `@override(label: "percent(n)")`: it is on below n. Random, but in tests. */
  overridePercentageOf?: (context: OperationContext) => number;
  /** The engine for queries and mutations where a request does not name one, and the other available engines; its own plans by default. */
  engines?: readonly [Engine, ...Engine[]];
  /** Checks of documents beyond validity, such as limits; none unless given. */
  checksOf?: ((audience: Audience, schema: GraphQLSchema) => DocumentChecks) | undefined;
  log?: Pick<Logger, "error" | "warn"> | undefined;
}

export function createExecutor(options: ExecutorOptions): Executor {
  const { supergraphSdl, timeoutMs = 30_000, maxCachedBytes = 128 * 1_048_576, log } = options;
  const { overrideLabelsOf = () => [], overridePercentageOf = () => Math.random() * 100 } = options;
  const supergraph = parseSupergraph(supergraphSdl);
  const authorization = createAuthorization(supergraph.document);
  const planner = options.planner ?? createIsolatedPlanner({ supergraphSdl, log, onReplaced: options.onReplacedPlan });
  const internalApiSchema = createApiSchema({ supergraph: supergraph.document });
  const apiSchema = createApiSchema({ supergraph: supergraph.document, withoutTags: [INTERNAL_TAG] });
  const clients = new Map(options.clients.map((client) => [client.name, client]));
  for (const name of supergraph.subgraphUrls.keys()) {
    if (!clients.has(name)) throw new Error(`The supergraph has a subgraph "${name}", but there is no client for it.`);
  }
  function clientOf(subgraph: string): SubgraphClient {
    const client = clients.get(subgraph);
    if (!client) throw new Error(`The plan names a subgraph "${subgraph}" that is not in the supergraph.`);
    return client;
  }

  const { checksOf } = options;
  const documents = {
    public: createDocuments({ schema: apiSchema, checks: checksOf?.("public", apiSchema), maxCachedBytes }),
    internal: createDocuments({
      schema: internalApiSchema,
      checks: checksOf?.("internal", internalApiSchema),
      maxCachedBytes,
    }),
  };
  const planning = { supergraph, authorization, planner, clientOf, log };
  const operations = {
    public: createPreparedOperations({ ...planning, schema: apiSchema, documents: documents.public }),
    internal: createPreparedOperations({ ...planning, schema: internalApiSchema, documents: documents.internal }),
  };

  const { engines = ["toolyard"] } = options;
  const apollo = engines.includes("apollo")
    ? createApolloQueries({
        supergraph,
        supergraphSdl,
        clientOf,
        subgraphsKnowCallers: options.subgraphsKnowCallers ?? true,
        log,
      })
    : null;

  const choiceOf = createVariantChoice({ supergraph, overrideLabelsOf, overridePercentageOf });
  const reads = createSharedReads({ isByCaller: options.subgraphsKnowCallers ?? true });

  const isService = (caller: Caller) => caller.kind === "service";
  const schemaFor = (caller: Caller) => (isService(caller) ? internalApiSchema : apiSchema);
  const prepare = (request: OperationText & Pick<OperationRequest, "context">) =>
    (isService(request.context.caller) ? operations.internal : operations.public).get(request);

  function coerceVariables(
    { definition, conditionVariables }: Operation,
    { variables, context }: OperationRequest,
  ): { coerced: Json } | { errors: readonly GraphQLError[] } {
    const definitions = definition.variableDefinitions;
    if (!definitions || definitions.length === 0) return { coerced: {} };
    const schema = schemaFor(context.caller);
    let result = variableValues(schema, definitions, variables ?? {});
    if ("errors" in result && variables) {
      try {
        const plain = withPlainNumbers(schema, definitions, variables);
        result = variableValues(schema, definitions, plain);
      } catch (error) {
        if (error instanceof RangeError) return { errors: [tooDeep("variables are")] };
        throw error;
      }
    }
    if ("coerced" in result) {
      const { coerced } = result;
      // Allowed by their default value, and null all the same (GraphQL, section 6.4.1).
      const nulls = conditionVariables.filter((name) => coerced[name] === null);
      if (nulls.length === 0) return { coerced };
      return {
        errors: nulls.map((name) =>
          graphqlError("BAD_USER_INPUT", `Variable "$${name}" is null, where @skip and @include take true or false.`, {
            nodes: definitions.filter(({ variable }) => variable.name.value === name),
          }),
        ),
      };
    }
    return {
      errors: result.errors.map((error) =>
        // Errors thrown while values are coerced are among these.
        (error as Error) instanceof RangeError
          ? tooDeep("variables are")
          : graphqlError("BAD_USER_INPUT", error.message, { nodes: error.nodes ?? null }),
      ),
    };
  }

  function finish({ plan, projection, denials }: Variant, execution: Execution): ExecutionResult {
    if (denials.length > 0) execution.errors.push(...denials);
    let isAccounted: ((path: ResponsePath) => boolean) | undefined;
    const isExplained = (path: ResponsePath) =>
      execution.hasFailedFetch || (isAccounted ??= createErrorPaths(execution.errors))(path);
    const { data, errors } = projection(execution.data, isExplained);
    const asked = execution.errors.length > 0 ? askedErrors(execution, data, plan.requirements()) : [];
    const all = errors.length > 0 ? [...asked, ...errors] : asked;
    return all.length > 0 ? { errors: all, data } : { data };
  }

  const begin = (context: OperationContext, variables: Json, operation: Operation, lifetime: Lifetime): Execution => ({
    data: {},
    errors: [],
    variables,
    context,
    signal: lifetime.signal,
    hasFailedFetch: false,
    responseKeys: operation.responseKeys,
    reads,
    readScope: "",
    reader: null,
    log,
  });

  async function execute(request: OperationRequest): Promise<ExecutionResult> {
    const prepared = prepare(request);
    if ("length" in prepared) return { errors: prepared };
    const { operation } = prepared;
    if (operation.kind === "subscription")
      return { errors: [notHere("a subscription runs over a stream, not a request")] };
    const from = performance.now();
    const variables = coerceVariables(operation, request);
    if ("errors" in variables) return { errors: variables.errors };
    const slice = sliceAfter(from);
    if (slice) await slice;
    const lifetime = createLifetime(request.signal, timeoutMs);
    try {
      const choice = choiceOf(operation, variables.coerced, request.context);
      if (apollo && (request.engine ?? engines[0]) === "apollo" && apolloCanRun(operation, choice)) {
        const { query: text, context } = request;
        return await apollo.execute({
          operation,
          text,
          variables: variables.coerced,
          context,
          signal: lifetime.signal,
        });
      }
      const planned = prepared.variantFor(choice);
      const variant = planned instanceof Promise ? await plannedWithin(planned, lifetime, request.context) : planned;
      if (variant instanceof GraphQLError) return { errors: [variant] };
      const execution = begin(request.context, variables.coerced, operation, lifetime);
      const introspected = prepared.introspect(variables.coerced);
      if (introspected?.errors) return introspected;
      if (introspected?.data) execution.data = introspected.data;
      await variant.plan.run?.(execution);
      const next = sliceAfter();
      if (next) await next;
      return finish(variant, execution);
    } catch (error) {
      // The recursions here are over the client's variables.
      if (error instanceof RangeError) return { errors: [tooDeep("variables are")] };
      throw error;
    } finally {
      lifetime.end();
    }
  }

  function subscribe(request: OperationRequest): AsyncGenerator<ExecutionResult, void, void> {
    const prepared = prepare(request);
    if ("length" in prepared) return single({ errors: prepared });
    const { operation } = prepared;
    if (operation.kind !== "subscription") return single({ errors: [notHere("it is not a subscription")] });
    const variables = coerceVariables(operation, request);
    if ("errors" in variables) return single({ errors: variables.errors });
    const start = (variant: Variant | GraphQLError) => {
      if (variant instanceof GraphQLError) return single({ errors: [variant] });
      const { subscription, run } = variant.plan;
      if (!subscription) {
        const [denial] = variant.denials;
        return single({ errors: [denial ?? notHere("nothing is left of it to subscribe to")] });
      }
      return streamResults({
        subscription,
        run,
        begin: (lifetime) => begin(request.context, variables.coerced, operation, lifetime),
        finish: (execution) => finish(variant, execution),
        outerSignal: request.signal,
        onOpen: request.onOpen,
        isRetried: request.isRetried ?? false,
        timeoutMs,
        log,
      });
    };
    const planned = prepared.variantFor(choiceOf(prepared.operation, variables.coerced, request.context));
    return planned instanceof Promise ? later(recorded(planned, request.context).then(start)) : start(planned);
  }

  const isApolloFirst = engines[0] === "apollo";
  if (!isApolloFirst)
    apollo?.ready.catch((error: unknown) =>
      log?.warn(
        { reason: messageOf(error) },
        "@apollo/gateway does not take this supergraph, so nothing is compared with it",
      ),
    );

  return {
    ready: isApolloFirst && apollo ? apollo.ready : Promise.resolve(),
    apiSchema,
    internalApiSchema,
    supergraphSdl,
    documents,
    inspect(request) {
      const prepared = prepare(request);
      if ("length" in prepared) return { errors: prepared };
      const { kind, name, definition, fragments } = prepared.operation;
      return {
        kind,
        name,
        document: { kind: Kind.DOCUMENT, definitions: [definition, ...fragments.values()] },
        schema: schemaFor(request.context.caller),
      };
    },
    execute,
    isForApollo(request) {
      const prepared = prepare(request);
      if ("length" in prepared || apollo === null || apollo.isUnusable) return false;
      return apolloCanRun(prepared.operation, choiceOf(prepared.operation, {}, request.context));
    },
    subscribe,
    async explain(request) {
      const prepared = prepare(request);
      if ("length" in prepared) throw prepared[0] ?? new GraphQLError("The operation is not valid.");
      const variant = await prepared.variantFor(choiceOf(prepared.operation, request.variables ?? {}, request.context));
      if (variant instanceof GraphQLError) throw variant;
      return variant.queryPlan;
    },
    hottestOperations(limit) {
      const all = (["public", "internal"] as const).flatMap((audience) =>
        operations[audience].known().map((operation) => ({ ...operation, audience })),
      );
      return all.sort((a, b) => b.uses - a.uses).slice(0, limit);
    },
    async warm(hot, signal) {
      const outcome = { planned: 0, failed: 0 };
      for (const { audience, query, operationName, choice } of hot) {
        if (signal?.aborted) break;
        const prepared = operations[audience].get({ query, operationName });
        const variant = "length" in prepared ? null : await prepared.variantFor(choice);
        outcome[variant === null || variant instanceof GraphQLError ? "failed" : "planned"]++;
      }
      return outcome;
    },
    async close() {
      // A subscription that goes on keeps this executor in memory, and should not keep other callers' operations.
      for (const kept of Object.values(documents)) kept.clear();
      await Promise.all([planner.close(), apollo?.close()]);
    },
  };
}

function apolloCanRun({ kind, forSubgraphs, introspection }: Operation, choice: VariantChoice): boolean {
  if (kind === "subscription" || forSubgraphs === null || introspection !== null) return false;
  return choice.unmetRequirements.length === 0;
}

/** Planning, recorded where the operation is. */
async function recorded(
  planned: Promise<Variant | GraphQLError>,
  { trace }: OperationContext,
): Promise<Variant | GraphQLError> {
  if (!trace) return planned;
  const end = trace.plan();
  let variant: Variant | GraphQLError | undefined;
  try {
    variant = await planned;
    return variant;
  } finally {
    end(variant === undefined || variant instanceof GraphQLError);
  }
}

async function plannedWithin(
  planned: Promise<Variant | GraphQLError>,
  { aborted, signal }: Lifetime,
  context: OperationContext,
): Promise<Variant | GraphQLError> {
  try {
    return await Promise.race([recorded(planned, context), aborted()]);
  } catch (error) {
    if (!signal.aborted) throw error;
    return graphqlError("TIMEOUT", "The operation could not be planned in time.");
  }
}

function notHere(why: string): GraphQLError {
  return graphqlError("BAD_USER_INPUT", `This operation cannot be run here: ${why}.`);
}

async function* single(result: ExecutionResult): AsyncGenerator<ExecutionResult, void, void> {
  yield result;
}
