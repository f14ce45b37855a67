import { createHash } from "node:crypto";
import {
  getOperationAST,
  GraphQLError,
  NoSchemaIntrospectionCustomRule,
  parse,
  validate,
  type DocumentNode,
  type GraphQLSchema,
} from "graphql";
import { LRUCache } from "lru-cache";
import { createDocumentCache } from "@toolyard/service-kit/graph/document-cache.ts";
import type { InspectedOperation } from "../execution/executor.ts";
import { operationRules } from "../execution/operation.ts";
import { costError, limitExceeded, measureOperation, measureUnused, type OperationLimits } from "./operation-limits.ts";
import type { CostModel } from "./operation-cost.ts";

/** An operation that may run, with what is known of it from its text. */
export interface AdmittedOperation extends InspectedOperation {
  /** Of the whole text, parsed, measured and validated. */
  validDocument: DocumentNode;
  /** The first 16 hexadecimal digits of the text's SHA-256: the operation's name among people who look at metrics. */
  hash: string;
  /** Whether these variables let it cost too much. */
  costError(variables: Readonly<Record<string, unknown>>): GraphQLError | null;
}

export interface AdmissionOptions {
  schema: GraphQLSchema;
  costs: CostModel;
  limits: OperationLimits;
  introspection: boolean;
  /** Where only known operations run: whether this is one. */
  isKnown?: ((query: string) => boolean) | undefined;
  /** What the documents that are kept may take together, in bytes, by estimate. */
  maxCachedBytes?: number;
}

/** Decides by an operation's text whether it may run at all; each text once. */
export interface Admission {
  /** @param clientText What the client sent, where `query` was made of that here: where only known operations run, it is that which must be. */
  admit(query: string, operationName: string | null, clientText?: string): AdmittedOperation | readonly GraphQLError[];
  /** Whether this text was decided on before, so that it costs little to admit. */
  knows(query: string): boolean;
}

interface KnownText {
  document: DocumentNode;
  hash: string;
  operations: Map<string, AdmittedOperation | readonly GraphQLError[]>;
}

/** Refused texts are kept, too, but few: a client in a loop would else have the same bad text validated again and again. */
const MAX_REFUSED = 200;
const MAX_REFUSED_CHARACTERS = 500_000;

export function createAdmission(options: AdmissionOptions): Admission {
  const { schema, costs, limits, introspection, isKnown } = options;
  const { maxCachedBytes = 128 * 1_048_576 } = options;
  const known = createDocumentCache<KnownText>({ maxBytes: maxCachedBytes });
  const refused = new LRUCache<string, readonly GraphQLError[]>({
    max: MAX_REFUSED,
    maxSize: MAX_REFUSED_CHARACTERS,
    maxEntrySize: MAX_REFUSED_CHARACTERS / 16,
    sizeCalculation: (_, query) => query.length + 1,
  });
  const rules = introspection ? operationRules : [...operationRules, NoSchemaIntrospectionCustomRule];

  function read(query: string, clientText = query): KnownText | readonly GraphQLError[] {
    if (isKnown && !isKnown(clientText)) {
      return [
        new GraphQLError("Only operations of this gateway's safelist may run, and this is none of them.", {
          extensions: { code: "PERSISTED_QUERY_NOT_IN_LIST" },
        }),
      ];
    }
    let document: DocumentNode;
    try {
      document = parse(query, { maxTokens: limits.maxTokens });
    } catch (error) {
      if (!(error instanceof GraphQLError)) throw error;
      // graphql-js says it in words only.
      if (/contains more (?:than|that) \d+ tokens/.test(error.message))
        return [limitExceeded("tokens", limits.maxTokens, Infinity, "The document has too many tokens")];
      return [withCode(error, "GRAPHQL_PARSE_FAILED")];
    }
    for (const definition of document.definitions) {
      if (definition.kind !== "OperationDefinition") continue;
      // Not one of graphql-js's rules: it finds out when it executes.
      if (!schema.getRootType(definition.operation)) {
        const message = `The graph has no ${definition.operation}s.`;
        return [new GraphQLError(message, { nodes: definition, extensions: { code: "GRAPHQL_VALIDATION_FAILED" } })];
      }
      const measured = measureOperation({ document, definition, schema, costs, limits });
      if (measured instanceof GraphQLError) return [measured];
    }
    const unused = measureUnused({ document, schema, costs, limits });
    if (unused) return [unused];
    const problems = validate(schema, document, rules, { maxErrors: 50 });
    if (problems.length > 0) {
      return problems.map((error) =>
        withCode(
          error,
          error.message.startsWith("GraphQL introspection has been disabled")
            ? "INTROSPECTION_DISABLED"
            : "GRAPHQL_VALIDATION_FAILED",
        ),
      );
    }
    const hash = createHash("sha256").update(query).digest("hex").slice(0, 16);
    return { document, hash, operations: new Map() };
  }

  function choose({ document, hash }: KnownText, operationName: string | null) {
    const definition = getOperationAST(document, operationName);
    if (!definition) {
      const message =
        operationName === null
          ? "Name the operation to run."
          : `Unknown operation named "${shortened(operationName)}".`;
      return [new GraphQLError(message, { extensions: { code: "OPERATION_RESOLUTION_FAILURE" } })];
    }
    const measured = measureOperation({ document, definition, schema, costs, limits });
    if (measured instanceof GraphQLError) return [measured];
    return {
      kind: definition.operation,
      name: definition.name?.value ?? null,
      document: {
        ...document,
        definitions: document.definitions.filter((node) => node === definition || node.kind === "FragmentDefinition"),
      },
      schema,
      validDocument: document,
      hash,
      // Input objects nest as deeply as a client likes.
      costError: (variables: Readonly<Record<string, unknown>>) => {
        const found = withinStack<GraphQLError | null>(() => costError(measured, variables, limits));
        return Array.isArray(found) ? (found[0] ?? null) : found;
      },
    };
  }

  /** Parsing and validating are recursions over the client's text. */
  function withinStack<Result>(work: () => Result): Result | readonly GraphQLError[] {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      return [limitExceeded("depth", limits.maxDepth, Infinity, "The document is nested too deeply")];
    }
  }

  return {
    knows: (query) => known.get(query) !== undefined || refused.get(query) !== undefined,
    admit(query, operationName, clientText) {
      let text = known.get(query);
      if (!text) {
        // Sent by a client itself, the same text may have been refused.
        const before = clientText === undefined ? refused.get(query) : undefined;
        if (before) return before;
        const fresh = withinStack(() => read(query, clientText));
        if (!("document" in fresh)) {
          if (clientText === undefined) refused.set(query, fresh);
          return fresh;
        }
        text = fresh;
        known.set(query, text);
      }
      const key = operationName ?? "";
      const operation = text.operations.get(key);
      if (operation) return operation;
      const chosen = text;
      const fresh = withinStack(() => choose(chosen, operationName));
      // Names that are not in the document are the client's to choose: they are not kept.
      if ("hash" in fresh) text.operations.set(key, fresh);
      return fresh;
    },
  };
}

function withCode(error: GraphQLError, code: string): GraphQLError {
  return new GraphQLError(shortened(error.message), {
    nodes: error.nodes ?? null,
    source: error.source ?? null,
    positions: error.positions ?? null,
    extensions: { ...error.extensions, code },
  });
}

/** Names are as long as the client likes, and some errors say them again for each place. */
function shortened(text: string): string {
  return text.length > 1_000 ? `${text.slice(0, 1_000)}…` : text;
}
