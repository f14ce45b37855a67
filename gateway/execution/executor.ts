import {
  getVariableValues,
  GraphQLError,
  Kind,
  type DocumentNode,
  type ExecutionResult,
  type GraphQLSchema,
  type ValidationRule,
} from "graphql";
import type { Caller, Logger } from "@toolyard/service-kit";
import { createApiSchema } from "./api-schema.ts";
import { createLifetime, type Execution, type Json, type Lifetime } from "./execution.ts";
import type { Operation } from "./operation.ts";
import { createPreparedOperations, type OperationText, type Variant } from "./prepared-operations.ts";
import type { ResponsePath } from "./projection.ts";
import type { QueryPlan } from "./query-plan.ts";
import { streamResults } from "./result-stream.ts";
import { createHiveQueryPlanner, type QueryPlanner } from "./query-planner.ts";
import type { OperationContext, SubgraphClient } from "./subgraph-client.ts";
import { parseSupergraph } from "./supergraph.ts";

export interface GraphRequest {
  query: string;
  operationName?: string | null | undefined;
  variables?: Record<string, unknown> | null | undefined;
  context: OperationContext;
  /** Ends the operation when the client is gone. */
  signal?: AbortSignal | undefined;
  /** `query` parsed and validated against `apiSchema` already, as Apollo Server does it; else that is done here, once for a text. */
  validDocument?: DocumentNode | undefined;
}

export interface Executor {
  /** What the world sees. */
  readonly apiSchema: GraphQLSchema;
  /** With what is for services only. */
  readonly internalApiSchema: GraphQLSchema;
  readonly supergraphSdl: string;
  /** What the request is: its one operation, or why it cannot be run. Cached, like everything that depends on the text only. */
  inspect(
    request: Pick<GraphRequest, "query" | "operationName" | "context">,
  ): InspectedOperation | { errors: readonly GraphQLError[] };
  /**
   * Runs a query or a mutation. Never rejects: every failure is in `errors` with a code, and what could be had is in `data`.
   * A result without `data` means that nothing was run.
   */
  execute(request: GraphRequest): Promise<ExecutionResult>;
  /**
   * Starts a subscription: results as they come, none lost or overtaken, taken from the subgraph no faster than from here. A stream
   * that breaks ends with a result that has errors. Returning from the generator or aborting `signal` releases everything.
   */
  subscribe(request: GraphRequest): AsyncGenerator<ExecutionResult, void, void>;
  /** The plan of an operation, for people. @throws GraphQLError when the operation is not valid */
  explain(request: Pick<GraphRequest, "query" | "operationName" | "variables" | "context">): QueryPlan;
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
  /** Elements with this tag are for callers of kind `service` only. */
  internalTag?: string;
  /** The longest that one operation, or what is fetched for one event, may take. */
  timeoutMs?: number;
  maxCachedOperations?: number;
  /** Length of all cached operations' text together. */
  maxCachedCharacters?: number;
  /** How many events of one subscription are completed at the same time. They leave in order. */
  eventConcurrency?: number;
  /** How many fields an operation may select when its fragments are written out. */
  maxFields?: number;
  planner?: QueryPlanner;
  /** Rules beside those of the specification, such as limits. */
  validationRules?: readonly ValidationRule[];
  log?: Pick<Logger, "error"> | undefined;
}

export function createExecutor(options: ExecutorOptions): Executor {
  const { supergraphSdl, internalTag = "internal", timeoutMs = 30_000, maxCachedOperations = 2_000, log } = options;
  const { eventConcurrency = 8, validationRules = [], maxFields = 20_000, maxCachedCharacters = 4_000_000 } = options;
  const supergraph = parseSupergraph(supergraphSdl);
  const planner = options.planner ?? createHiveQueryPlanner({ supergraphSdl });
  const internalApiSchema = createApiSchema({ supergraph: supergraph.document });
  const apiSchema = createApiSchema({ supergraph: supergraph.document, withoutTags: [internalTag] });
  const clients = new Map(options.clients.map((client) => [client.name, client]));
  for (const name of supergraph.subgraphUrls.keys()) {
    if (!clients.has(name)) throw new Error(`The supergraph has a subgraph "${name}", but there is no client for it.`);
  }
  function clientOf(subgraph: string): SubgraphClient {
    const client = clients.get(subgraph);
    if (!client) throw new Error(`The plan names a subgraph "${subgraph}" that is not in the supergraph.`);
    return client;
  }

  const prepareFor = (schema: GraphQLSchema) =>
    createPreparedOperations({
      schema,
      supergraph,
      planner,
      clientOf,
      validationRules,
      maxFields,
      maxCachedOperations,
      maxCachedCharacters,
      log,
    });
  const operations = { public: prepareFor(apiSchema), internal: prepareFor(internalApiSchema) };

  const isService = (caller: Caller) => caller.kind === "service";
  const schemaFor = (caller: Caller) => (isService(caller) ? internalApiSchema : apiSchema);
  const prepare = (request: OperationText & Pick<GraphRequest, "context">) =>
    (isService(request.context.caller) ? operations.internal : operations.public).get(request);

  function coerceVariables(
    { definition }: Operation,
    { variables, context }: GraphRequest,
  ): { coerced: Json } | { errors: readonly GraphQLError[] } {
    const definitions = definition.variableDefinitions;
    if (!definitions || definitions.length === 0) return { coerced: {} };
    const result = getVariableValues(schemaFor(context.caller), definitions, variables ?? {}, { maxErrors: 50 });
    if (!result.errors) return { coerced: result.coerced };
    return {
      errors: result.errors.map(
        (error) =>
          new GraphQLError(error.message, { nodes: error.nodes ?? null, extensions: { code: "BAD_USER_INPUT" } }),
      ),
    };
  }

  function finish({ projection }: Variant, execution: Execution): ExecutionResult {
    const isExplained = (path: ResponsePath) =>
      execution.hasFailedFetch || execution.errors.some((error) => concerns(error.path, path));
    const { data, errors } = projection(execution.data, isExplained);
    const all = errors.length > 0 ? [...execution.errors, ...errors] : execution.errors;
    return all.length > 0 ? { errors: all, data } : { data };
  }

  const begin = (context: OperationContext, variables: Json, operation: Operation, lifetime: Lifetime): Execution => ({
    data: {},
    errors: [],
    variables,
    context,
    signal: lifetime.signal,
    aborted: lifetime.aborted,
    hasFailedFetch: false,
    responseKeys: operation.responseKeys,
    log,
  });

  async function execute(request: GraphRequest): Promise<ExecutionResult> {
    const prepared = prepare(request);
    if ("length" in prepared) return { errors: prepared };
    const { operation } = prepared;
    if (operation.kind === "subscription")
      return { errors: [notHere("a subscription runs over a stream, not a request")] };
    const variables = coerceVariables(operation, request);
    if ("errors" in variables) return { errors: variables.errors };
    const variant = prepared.variantFor(variables.coerced);
    if (variant instanceof GraphQLError) return { errors: [variant] };
    const lifetime = createLifetime(request.signal, timeoutMs);
    try {
      const execution = begin(request.context, variables.coerced, operation, lifetime);
      const introspected = prepared.introspect(variables.coerced);
      if (introspected?.errors) return introspected;
      if (introspected?.data) Object.assign(execution.data, introspected.data);
      await variant.plan.run?.(execution);
      return finish(variant, execution);
    } finally {
      lifetime.end();
    }
  }

  function subscribe(request: GraphRequest): AsyncGenerator<ExecutionResult, void, void> {
    const prepared = prepare(request);
    if ("length" in prepared) return single({ errors: prepared });
    const { operation } = prepared;
    if (operation.kind !== "subscription") return single({ errors: [notHere("it is not a subscription")] });
    const variables = coerceVariables(operation, request);
    if ("errors" in variables) return single({ errors: variables.errors });
    const variant = prepared.variantFor(variables.coerced);
    if (variant instanceof GraphQLError) return single({ errors: [variant] });
    const { subscription, run } = variant.plan;
    if (!subscription) return single({ errors: [notHere("nothing is left of it to subscribe to")] });
    return streamResults({
      subscription,
      run,
      begin: (lifetime) => begin(request.context, variables.coerced, operation, lifetime),
      finish: (execution) => finish(variant, execution),
      outerSignal: request.signal,
      timeoutMs,
      eventConcurrency,
      log,
    });
  }

  return {
    apiSchema,
    internalApiSchema,
    supergraphSdl,
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
    subscribe,
    explain(request) {
      const prepared = prepare(request);
      if ("length" in prepared) throw prepared[0] ?? new GraphQLError("The operation is not valid.");
      const variant = prepared.variantFor(request.variables ?? {});
      if (variant instanceof GraphQLError) throw variant;
      return variant.queryPlan;
    },
  };
}

function notHere(why: string): GraphQLError {
  return new GraphQLError(`This operation cannot be run here: ${why}.`, { extensions: { code: "BAD_REQUEST" } });
}

/** Whether an error at one path accounts for a null at another: at the same place, above or below it. */
function concerns(errorPath: ResponsePath | undefined, path: ResponsePath): boolean {
  if (!errorPath) return false;
  const common = Math.min(errorPath.length, path.length);
  for (let i = 0; i < common; i++) if (errorPath[i] !== path[i]) return false;
  return true;
}

async function* single(result: ExecutionResult): AsyncGenerator<ExecutionResult, void, void> {
  yield result;
}
