import {
  execute as executeLocally,
  GraphQLError,
  type DocumentNode,
  type ExecutionResult,
  type GraphQLSchema,
  type ValidationRule,
} from "graphql";
import { isPublic, type Logger } from "@toolyard/service-kit";
import type { Json } from "./execution.ts";
import { createLruCache } from "./lru-cache.ts";
import { parseOperation, planTextOf, prepareOperation, type Operation } from "./operation.ts";
import { compilePlan, type CompiledPlan } from "./plan-compiler.ts";
import { createProjection, type Projection } from "./projection.ts";
import type { QueryPlan } from "./query-plan.ts";
import type { QueryPlanner } from "./query-planner.ts";
import type { SubgraphClient } from "./subgraph-client.ts";
import type { Supergraph } from "./supergraph.ts";

/** All that depends on an operation's text alone, worked out once. */
export interface PreparedOperation {
  operation: Operation;
  /** Plans when these variables ask for a variant that was not met before. */
  variantFor(variables: Json): Variant | GraphQLError;
  /** What the schema answers; null when it is not asked. */
  introspect(variables: Json): ExecutionResult | null;
}

/** An operation for one choice of the variables that @skip and @include look at: it is planned and projected without conditions. */
export interface Variant {
  queryPlan: QueryPlan;
  plan: CompiledPlan;
  projection: Projection;
}

export interface PreparedOperationsOptions {
  /** What operations are valid against. */
  schema: GraphQLSchema;
  supergraph: Supergraph;
  planner: QueryPlanner;
  clientOf(subgraph: string): SubgraphClient;
  validationRules: readonly ValidationRule[];
  maxFields: number;
  maxCachedOperations: number;
  /** Length of all cached operations' text together; what is kept of one takes some fifty times its text. */
  maxCachedCharacters: number;
  log: Pick<Logger, "error"> | undefined;
}

export interface OperationText {
  query: string;
  operationName?: string | null | undefined;
  /** `query`, parsed and known to be valid. */
  validDocument?: DocumentNode | undefined;
}

export interface PreparedOperations {
  /** @returns errors of the client when there is no such operation, or it is not valid */
  get(text: OperationText): PreparedOperation | readonly GraphQLError[];
}

interface KnownDocument {
  document: DocumentNode;
  operations: Map<string, PreparedOperation>;
}

const maxVariantsOfOperation = 32;

export function createPreparedOperations(options: PreparedOperationsOptions): PreparedOperations {
  const { schema, supergraph, validationRules, maxCachedOperations, maxCachedCharacters } = options;
  const documents = createLruCache<KnownDocument>({ maxEntries: maxCachedOperations, maxWeight: maxCachedCharacters });

  return {
    get({ query, operationName: name, validDocument }) {
      let known = documents.get(query);
      if (!known) {
        const document = validDocument ?? parseOperation(query, schema, validationRules);
        // Invalid ones are not kept: they would push out what is used.
        if (!("kind" in document)) return document;
        known = { document, operations: new Map() };
        documents.set(query, known, query.length);
      }
      const operationName = name ?? null;
      const prepared = known.operations.get(operationName ?? "");
      if (prepared) return prepared;
      const operation = prepareOperation({ document: known.document, operationName, supergraph });
      if (operation instanceof GraphQLError) return [operation];
      const fresh = {
        operation,
        variantFor: variantsOf(operation, options),
        introspect: introspectionOf(operation, schema),
      };
      known.operations.set(operationName ?? "", fresh);
      return fresh;
    },
  };
}

function variantsOf(operation: Operation, options: PreparedOperationsOptions): PreparedOperation["variantFor"] {
  const names = operation.conditionVariables;
  const variants = createLruCache<Variant>({ maxEntries: maxVariantsOfOperation });
  return (variables) => {
    const key = names.length === 0 ? "" : names.map((name) => (variables[name] === true ? "1" : "0")).join("");
    const known = variants.get(key);
    if (known) return known;
    const fresh = createVariant(operation, options, variables);
    if (!(fresh instanceof GraphQLError)) variants.set(key, fresh);
    return fresh;
  };
}

function createVariant(
  operation: Operation,
  { schema, supergraph, planner, clientOf, maxFields, log }: PreparedOperationsOptions,
  variables: Json,
): Variant | GraphQLError {
  const isTrue = (name: string) => variables[name] === true;
  let planText: string | null = null;
  try {
    planText = planTextOf(operation, { schema, isTrue, maxFields });
    const queryPlan = planText === null ? { node: null } : planner.plan(planText, operation.name);
    return {
      queryPlan,
      plan: compilePlan(queryPlan, { clientOf, supergraph }),
      projection: createProjection({ schema, operation, isTrue }),
    };
  } catch (error) {
    if (isPublic(error)) return new GraphQLError(error.message, { extensions: { ...error.extensions } });
    log?.error({ err: error, operation: planText }, "planning failed");
    return new GraphQLError("This operation could not be planned.", { extensions: { code: "INTERNAL_SERVER_ERROR" } });
  }
}

function introspectionOf(operation: Operation, schema: GraphQLSchema): PreparedOperation["introspect"] {
  const document = operation.introspection;
  if (!document) return () => null;
  return (variableValues) => {
    const result = executeLocally({ schema, document, operationName: operation.name, rootValue: {}, variableValues });
    if (result instanceof Promise) throw new Error("Introspection cannot wait for anything.");
    return result;
  };
}
