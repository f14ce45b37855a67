import {
  execute as executeLocally,
  GraphQLError,
  type DocumentNode,
  type ExecutionResult,
  type GraphQLSchema,
} from "graphql";
import { isPublic, type Logger } from "@toolyard/service-kit";
import { graphqlError } from "@toolyard/service-kit/errors/graphql-error.ts";
import type { Authorization } from "./schema/authorization.ts";
import type { Json } from "./running/execution.ts";
import { tooDeep, type Documents, type ValidDocument } from "./documents.ts";
import { planTextOf, prepareOperation, type Operation } from "./operation.ts";
import { compilePlan, type CompiledPlan } from "./running/plan-compiler.ts";
import { createProjection, type Projection } from "./running/projection.ts";
import type { QueryPlan } from "./planning/query-plan.ts";
import type { QueryPlanner } from "./planning/query-planner.ts";
import type { SubgraphClient } from "./clients/subgraph-client.ts";
import type { Supergraph } from "./schema/supergraph.ts";

/** All that depends on an operation's text alone, worked out once. */
interface PreparedOperation {
  operation: Operation;
  /** Plans when this choice is new; a promise only then. */
  variantFor(choice: VariantChoice): Variant | Promise<Variant | GraphQLError>;
  /** The schema's own answer; null when nothing is asked of it. */
  introspect(variables: Json): ExecutionResult | null;
}

/** The key of a variant: one plan and one projection, without conditions. */
export interface VariantChoice {
  /** The variables that @skip and @include look at and that are true. */
  trueVariables: readonly string[];
  /** Keys of the operation's requirements that the caller does not meet. */
  unmetRequirements: readonly string[];
  overrideLabels: readonly string[];
  overridePercentage: number;
}

export interface Variant {
  queryPlan: QueryPlan;
  plan: CompiledPlan;
  projection: Projection;
  /** The errors for fields that the caller may not have. */
  denials: readonly GraphQLError[];
}

/** One operation and how often it was asked for, to prepare it elsewhere. */
export interface HotOperation {
  query: string;
  operationName: string | null;
  choice: VariantChoice;
  /** How often it ran since it was planned. */
  uses: number;
}

export interface PreparedOperationsOptions {
  /** The schema that operations are valid against. */
  schema: GraphQLSchema;
  supergraph: Supergraph;
  authorization: Authorization | null;
  planner: QueryPlanner;
  clientOf(subgraph: string): SubgraphClient;
  /** The documents valid against it. Prepared operations are kept along with them. */
  documents: Documents;
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
  /** All prepared operations that are kept. */
  known(): HotOperation[];
}

interface KnownOperation extends PreparedOperation {
  uses(): { choice: VariantChoice; uses: number }[];
}

const MAX_VARIANTS_OF_OPERATION = 32;
const MAX_OPERATIONS_OF_DOCUMENT = 64;

/** Measured as `bytesOfDocument`: a plan with its steps and projection, by the length of its JSON. */
const bytesOfPlan = (length: number) => 3_000 + 5 * length;

export function createPreparedOperations(options: PreparedOperationsOptions): PreparedOperations {
  const { schema, supergraph, authorization, documents } = options;
  const preparedOf = new WeakMap<ValidDocument, Map<string, KnownOperation>>();

  function prepare({ query, operationName, validDocument }: OperationText): KnownOperation | readonly GraphQLError[] {
    const known = documents.get(query, validDocument);
    if (!("document" in known)) return known;
    let operations = preparedOf.get(known);
    if (!operations) {
      operations = new Map();
      preparedOf.set(known, operations);
    }
    const name = operationName ?? null;
    const prepared = operations.get(name ?? "");
    if (prepared) return prepared;
    const { document } = known;
    const operation = prepareOperation({ document, operationName: name, schema, supergraph, authorization });
    if (operation instanceof GraphQLError) return [operation];
    const addBytes = (bytes: number) => documents.addBytes(known, bytes);
    const fresh = {
      operation,
      ...variantsOf(operation, options, addBytes),
      introspect: introspectionOf(operation, schema, addBytes),
    };
    if (operations.size < MAX_OPERATIONS_OF_DOCUMENT) operations.set(name ?? "", fresh);
    return fresh;
  }

  return {
    get(text) {
      try {
        return prepare(text);
      } catch (error) {
        // The only recursion here is over the client's text.
        if (error instanceof RangeError) return [tooDeep()];
        throw error;
      }
    },
    known() {
      const all: HotOperation[] = [];
      for (const document of documents.kept()) {
        for (const [name, operation] of preparedOf.get(document) ?? []) {
          const named = { query: document.query, operationName: name === "" ? null : name };
          for (const used of operation.uses()) all.push({ ...named, ...used });
        }
      }
      return all;
    },
  };
}

function variantsOf(
  operation: Operation,
  options: PreparedOperationsOptions,
  addBytes: (bytes: number) => void,
): Pick<KnownOperation, "variantFor" | "uses"> {
  // Nearly all operations have one: a cache of its own for each would take as much as the variant.
  const variants = new Map<string, { variant: Variant; choice: VariantChoice; uses: number }>();
  const planning = new Map<string, Promise<Variant | GraphQLError>>();

  async function create(key: string, choice: VariantChoice): Promise<Variant | GraphQLError> {
    try {
      const variant = await createVariant(operation, options, choice);
      if (variant instanceof GraphQLError) return variant;
      const [oldest] = variants.size < MAX_VARIANTS_OF_OPERATION ? [] : variants.keys();
      if (oldest !== undefined) variants.delete(oldest);
      variants.set(key, { variant, choice, uses: 1 });
      addBytes(bytesOfPlan(JSON.stringify(variant.queryPlan).length));
      return variant;
    } finally {
      planning.delete(key);
    }
  }

  return {
    variantFor(choice) {
      const key = keyOf(choice);
      const known = variants.get(key);
      if (known) {
        known.uses++;
        if (variants.size === MAX_VARIANTS_OF_OPERATION) {
          // The least recently used one goes first.
          variants.delete(key);
          variants.set(key, known);
        }
        return known.variant;
      }
      let pending = planning.get(key);
      if (!pending) {
        pending = create(key, choice);
        planning.set(key, pending);
      }
      return pending;
    },
    uses() {
      return [...variants.values()].map(({ choice, uses }) => ({ choice, uses }));
    },
  };
}

function keyOf({ trueVariables, unmetRequirements, overrideLabels, overridePercentage }: VariantChoice): string {
  // Most operations have one variant.
  const isPlain = unmetRequirements.length === 0 && overrideLabels.length === 0 && overridePercentage === 100;
  if (isPlain) return trueVariables.length === 0 ? "" : trueVariables.join();
  return [trueVariables.join(), overridePercentage, JSON.stringify([unmetRequirements, overrideLabels])].join(" ");
}

async function createVariant(
  operation: Operation,
  { schema, supergraph, authorization, planner, clientOf, log }: PreparedOperationsOptions,
  choice: VariantChoice,
): Promise<Variant | GraphQLError> {
  const isTrue = (name: string) => choice.trueVariables.includes(name);
  const unmet = new Set(choice.unmetRequirements);
  const isDenied =
    authorization === null || unmet.size === 0
      ? undefined
      : (typeName: string, fieldName: string) =>
          authorization.requirementsOf(typeName, fieldName).some(({ key }) => unmet.has(key));
  try {
    const { text, denied } = planTextOf(operation, { schema, supergraph, isTrue, isDenied });
    const { overrideLabels, overridePercentage } = choice;
    const conditions = Object.fromEntries(operation.conditionVariables.map((name) => [name, isTrue(name)]));
    const request = { operationName: operation.name, overrideLabels, overridePercentage, conditions };
    const queryPlan = text === null ? { node: null } : await planner.plan({ operation: text, ...request });
    return {
      queryPlan,
      plan: compilePlan(queryPlan, { clientOf, supergraph }),
      projection: createProjection({ schema, operation, isTrue, isDenied }),
      denials: denied.map((path) => graphqlError("UNAUTHORIZED_FIELD_OR_TYPE", "Unauthorized field or type", { path })),
    };
  } catch (error) {
    if (error instanceof RangeError) return tooDeep();
    if (isPublic(error)) return new GraphQLError(error.message, { extensions: { ...error.extensions } });
    log?.error({ err: error, operationName: operation.name }, "planning failed");
    return graphqlError("INTERNAL_SERVER_ERROR", "This operation could not be planned.");
  }
}

/** Answered by the schema, which does not change: the same answer for all requests without variables. */
function introspectionOf(
  operation: Operation,
  schema: GraphQLSchema,
  keep: (bytes: number) => void,
): PreparedOperation["introspect"] {
  const document = operation.introspection;
  if (!document) return () => null;
  let kept: ExecutionResult | null = null;
  // The subgraphs' answer is put beside it.
  const copyOf = (result: ExecutionResult): ExecutionResult =>
    result.data ? { ...result, data: { ...result.data } } : result;
  return (variableValues) => {
    if (kept) return copyOf(kept);
    const result = executeLocally({ schema, document, operationName: operation.name, rootValue: {}, variableValues });
    if (result instanceof Promise) throw new Error("Introspection must not be asynchronous.");
    if (Object.keys(variableValues).length > 0) return result;
    kept = result;
    keep(bytesOfPlan(JSON.stringify(result).length));
    return copyOf(result);
  };
}
