import { createHash } from "node:crypto";
import { GraphQLError, Kind, NoSchemaIntrospectionCustomRule, type DocumentNode, type GraphQLSchema } from "graphql";
import { graphqlError } from "@toolyard/service-kit/errors/graphql-error.ts";
import { operationOf, type DocumentChecks, type Documents, type ValidDocument } from "../execution/documents.ts";
import type { InspectedOperation } from "../execution/executor.ts";
import { costError, limitExceeded, measureOperation, measureUnused, type OperationLimits } from "./operation-limits.ts";
import type { CostModel } from "./operation-cost.ts";

/** An operation that may run, with the facts known from its text. */
export interface AdmittedOperation extends InspectedOperation {
  /** The first 16 hexadecimal digits of the text's SHA-256, which identify the operation in metrics. */
  hash: string;
  /** The error when it costs too much with these variables. */
  costError(variables: Readonly<Record<string, unknown>>): GraphQLError | null;
}

interface Measures {
  schema: GraphQLSchema;
  costs: CostModel;
  limits: OperationLimits;
}

export interface AdmissionOptions extends Measures {
  /** The documents that passed `admissionChecks`. */
  documents: Documents;
  /** Where only known operations run: whether this is one. */
  isKnown?: ((query: string) => boolean) | undefined;
}

/** Decides by an operation's text whether it may run at all; each text once. */
export interface Admission {
  /** @param clientText The client's text, where `query` was derived from it: a safelist must have this text. */
  admit(query: string, operationName: string | null, clientText?: string): AdmittedOperation | readonly GraphQLError[];
  /** Whether this text was decided on before, so that admitting it is cheap. */
  knows(query: string): boolean;
}

/** The checks of a document before validation, and beside the specification's rules. */
export function admissionChecks({ introspection, ...measures }: Measures & { introspection: boolean }): DocumentChecks {
  const { schema, limits } = measures;
  return {
    maxTokens: limits.maxTokens,
    rules: introspection ? [] : [NoSchemaIntrospectionCustomRule],
    measure(document) {
      for (const definition of document.definitions) {
        if (definition.kind !== Kind.OPERATION_DEFINITION) continue;
        // Not one of graphql-js's rules: it checks this at execution.
        if (!schema.getRootType(definition.operation)) {
          const message = `The graph has no ${definition.operation}s.`;
          return graphqlError("GRAPHQL_VALIDATION_FAILED", message, { nodes: definition });
        }
        const measured = measureOperation({ document, definition, ...measures });
        if (measured instanceof GraphQLError) return measured;
      }
      return measureUnused({ document, ...measures });
    },
    refusal: (limit) =>
      limit === "tokens"
        ? limitExceeded(limit, limits.maxTokens, Infinity, "The document has too many tokens")
        : tooDeep(limits),
  };
}

export function createAdmission(options: AdmissionOptions): Admission {
  const { documents, schema, costs, limits, isKnown } = options;
  const admitted = new WeakMap<ValidDocument, { hash: string; operations: Map<string, AdmittedOperation> }>();

  function admittedOf(known: ValidDocument): { hash: string; operations: Map<string, AdmittedOperation> } {
    let of = admitted.get(known);
    if (!of) {
      const hash = createHash("sha256").update(known.query).digest("hex").slice(0, 16);
      of = { hash, operations: new Map() };
      admitted.set(known, of);
    }
    return of;
  }

  function choose(
    document: DocumentNode,
    hash: string,
    operationName: string | null,
  ): AdmittedOperation | readonly GraphQLError[] {
    const definition = operationOf(document, operationName);
    if (definition instanceof GraphQLError) return [definition];
    const measured = measureOperation({ document, definition, schema, costs, limits });
    if (measured instanceof GraphQLError) return [measured];
    return {
      kind: definition.operation,
      name: definition.name?.value ?? null,
      document: {
        ...document,
        definitions: document.definitions.filter(
          (node) => node === definition || node.kind === Kind.FRAGMENT_DEFINITION,
        ),
      },
      schema,
      hash,
      costError(variables) {
        try {
          return costError(measured, variables, limits);
        } catch (error) {
          // Input objects nest as deeply as a client likes.
          if (error instanceof RangeError) return tooDeep(limits);
          throw error;
        }
      },
    };
  }

  return {
    knows: (query) => documents.knows(query),
    admit(query, operationName, clientText = query) {
      if (isKnown && !isKnown(clientText)) {
        const message = "Only operations on this gateway's safelist may run, and this one is not on it.";
        return [graphqlError("PERSISTED_QUERY_NOT_IN_LIST", message)];
      }
      const known = documents.get(query);
      if (!("document" in known)) return known;
      const { hash, operations } = admittedOf(known);
      const key = operationName ?? "";
      const operation = operations.get(key);
      if (operation) return operation;
      const fresh = choose(known.document, hash, operationName);
      // Clients choose names that are not in the document: they are not kept.
      if ("hash" in fresh) operations.set(key, fresh);
      return fresh;
    },
  };
}

function tooDeep({ maxDepth }: OperationLimits): GraphQLError {
  return limitExceeded("depth", maxDepth, Infinity, "The document is nested too deeply");
}
