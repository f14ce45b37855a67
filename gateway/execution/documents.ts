import {
  getEnterLeaveForKind,
  getOperationAST,
  GraphQLError,
  Kind,
  KnownDirectivesRule,
  parse,
  specifiedRules,
  validate,
  type DirectiveNode,
  type DocumentNode,
  type GraphQLSchema,
  type OperationDefinitionNode,
  type ValidationContext,
  type ValidationRule,
} from "graphql";
import { LRUCache } from "lru-cache";
import { graphqlError, shortened, withCode } from "@toolyard/service-kit/errors/graphql-error.ts";
import { bytesOfDocument, createDocumentCache } from "@toolyard/service-kit/graph/document-cache.ts";

/** A valid document, kept for its text. */
export interface ValidDocument {
  readonly query: string;
  readonly document: DocumentNode;
  /** Its size by estimate, with all that was derived from it. */
  bytes: number;
}

/** The checks of a document beyond validity. */
export interface DocumentChecks {
  /** Bounds the cost of parsing. */
  maxTokens: number;
  /** Bounds the cost of validation: whether to begin. */
  measure(document: DocumentNode): GraphQLError | null;
  /** Rules beside those of the specification. */
  rules: readonly ValidationRule[];
  /** The message for a text that has too many tokens, or nests too deeply to be read. */
  refusal(limit: "tokens" | "depth"): GraphQLError;
}

/** The one way from a text to a document: parsed, measured and validated once, for all callers. */
export interface Documents {
  /**
   * @param validDocument `query`, parsed and known to be valid
   * @returns errors of the client where it is not
   */
  get(query: string, validDocument?: DocumentNode): ValidDocument | readonly GraphQLError[];
  /** Whether this text was decided on before, so that getting it is cheap. */
  knows(query: string): boolean;
  /** Counts values derived from a document and kept along with it, in bytes by estimate. */
  addBytes(document: ValidDocument, bytes: number): void;
  /** All valid documents that are kept. */
  kept(): Iterable<ValidDocument>;
  clear(): void;
}

export interface DocumentsOptions {
  schema: GraphQLSchema;
  /** Only validity is checked where this is left out. */
  checks?: DocumentChecks | undefined;
  /** The total size of valid documents and of values kept along with them, in bytes, by estimate. */
  maxCachedBytes: number;
}

/** Refused texts are kept as well, but few: a client in a loop would otherwise have the same bad text validated again and again. */
const MAX_REFUSED = 200;
const MAX_REFUSED_CHARACTERS = 500_000;
const MAX_ERRORS = 50;

export function createDocuments({ schema, checks, maxCachedBytes }: DocumentsOptions): Documents {
  const valid = createDocumentCache<ValidDocument>({ maxBytes: maxCachedBytes });
  const refused = new LRUCache<string, readonly GraphQLError[]>({
    max: MAX_REFUSED,
    maxSize: MAX_REFUSED_CHARACTERS,
    maxEntrySize: MAX_REFUSED_CHARACTERS / 16,
    sizeCalculation: (_, query) => query.length + 1,
  });
  const rules = checks ? [...operationRules, ...checks.rules] : operationRules;

  function read(query: string): DocumentNode | readonly GraphQLError[] {
    let document: DocumentNode;
    try {
      document = parse(query, checks && { maxTokens: checks.maxTokens });
    } catch (error) {
      if (!(error instanceof GraphQLError)) throw error;
      // graphql-js reports this only by its message.
      if (checks && /contains more (?:than|that) \d+ tokens/.test(error.message)) return [checks.refusal("tokens")];
      return [withCode("GRAPHQL_PARSE_FAILED", error)];
    }
    const tooLarge = checks?.measure(document);
    if (tooLarge) return [tooLarge];
    const problems = validate(schema, document, rules, { maxErrors: MAX_ERRORS });
    return problems.length === 0 ? document : problems.map((error) => withCode(codeOf(error), error));
  }

  /** Parsing and validating are recursions over the client's text. */
  function readWithinStack(query: string): DocumentNode | readonly GraphQLError[] {
    try {
      return read(query);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      return [checks?.refusal("depth") ?? tooDeep()];
    }
  }

  return {
    get(query, validDocument) {
      const known = valid.get(query) ?? refused.get(query);
      if (known) return known;
      const fresh = validDocument ?? readWithinStack(query);
      if (!("kind" in fresh)) {
        refused.set(query, fresh);
        return fresh;
      }
      const kept = { query, document: fresh, bytes: bytesOfDocument(query.length) };
      valid.set(query, kept);
      return kept;
    },
    knows: (query) => valid.has(query) || refused.has(query),
    addBytes(known, bytes) {
      known.bytes += bytes;
      // It may have been pushed out meanwhile. A cache looks at sizes of new values only.
      if (valid.peek(known.query) !== known) return;
      valid.delete(known.query);
      valid.set(known.query, known, { size: known.bytes });
    },
    kept: () => valid.values(),
    clear() {
      valid.clear();
      refused.clear();
    },
  };
}

/** The requested operation of a document. */
export function operationOf(document: DocumentNode, name: string | null): OperationDefinitionNode | GraphQLError {
  const message = name === null ? "Name the operation to run." : `Unknown operation named "${shortened(name)}".`;
  return getOperationAST(document, name) ?? graphqlError("OPERATION_RESOLUTION_FAILURE", message);
}

/** @param what The subject with its verb */
export function tooDeep(what = "operation is"): GraphQLError {
  return graphqlError("BAD_USER_INPUT", `The ${what} nested too deeply.`);
}

function codeOf({ message }: GraphQLError): "INTROSPECTION_DISABLED" | "GRAPHQL_VALIDATION_FAILED" {
  // The same message as graphql-js's NoSchemaIntrospectionCustomRule.
  return message.startsWith("GraphQL introspection has been disabled")
    ? "INTROSPECTION_DISABLED"
    : "GRAPHQL_VALIDATION_FAILED";
}

const isIncremental = ({ name }: DirectiveNode, context: ValidationContext) =>
  (name.value === "defer" || name.value === "stream") && !context.getSchema().getDirective(name.value);

/** Reports that @defer and @stream are not supported, rather than that they are unknown. Turned off, they ask for nothing. */
const refuseIncrementalDelivery: ValidationRule = (context) => ({
  Directive(node) {
    if (!isIncremental(node, context)) return;
    const condition = node.arguments?.find((argument) => argument.name.value === "if")?.value;
    if (condition?.kind === Kind.BOOLEAN && !condition.value) return;
    const message = `The directive "@${node.name.value}" is not supported here: every result comes in one piece. Leave it out.`;
    context.reportError(new GraphQLError(message, { nodes: node }));
  },
});

const refuseUnknownDirectives: ValidationRule = (context) => {
  const visitor = KnownDirectivesRule(context);
  const { enter: check } = getEnterLeaveForKind(visitor, Kind.DIRECTIVE);
  return {
    Directive: (node, ...place) => {
      if (!isIncremental(node, context)) check?.call(visitor, node, ...place);
    },
  };
};

/** The specification's rules, except those about incremental delivery. */
const operationRules: readonly ValidationRule[] = [
  ...specifiedRules.map((rule) => (rule === KnownDirectivesRule ? refuseUnknownDirectives : rule)),
  refuseIncrementalDelivery,
];
