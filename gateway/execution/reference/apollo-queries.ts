import { createHash } from "node:crypto";
import type { ApolloGateway } from "@apollo/gateway";
import { GraphQLError, Kind, type DocumentNode, type ExecutionResult, type GraphQLFormattedError } from "graphql";
import type { Logger } from "@toolyard/service-kit";
import { graphqlError } from "@toolyard/service-kit/errors/graphql-error.ts";
import { fetchFrom, type FetchRun } from "../running/execution.ts";
import { INTERNAL_TAG, withInaccessibleTags } from "../schema/inaccessible-tags.ts";
import type { AbortSignalLike } from "@toolyard/service-kit/process/light-abort.ts";
import type { Operation } from "../operation.ts";
import { createSharedReads } from "../running/shared-reads.ts";
import type { OperationContext, SubgraphClient, SubgraphError } from "../clients/subgraph-client.ts";
import type { Supergraph } from "../schema/supergraph.ts";

/** One operation for the stock gateway: valid, its variables coerced once. */
interface ApolloQuery {
  operation: Operation;
  /** Of the whole document. */
  text: string;
  variables: Record<string, unknown>;
  context: OperationContext;
  signal: AbortSignalLike;
}

/**
 * Runs queries and mutations by the stock `@apollo/gateway`, over the same clients of subgraphs as the executor: its planner, in this
 * process, and its execution. It knows nothing of authorization directives, nor of subscriptions.
 */
export interface ApolloQueries {
  /** Rejects when the stock gateway does not accept the supergraph. */
  readonly ready: Promise<void>;
  /** True once the stock gateway is known not to accept the supergraph. */
  readonly isUnusable: boolean;
  /** Never rejects. Errors have codes, services and the request's id, as the executor's own have. */
  execute(query: ApolloQuery): Promise<ExecutionResult>;
  close(): Promise<void>;
}

export interface ApolloQueriesOptions {
  supergraph: Supergraph;
  supergraphSdl: string;
  clientOf(subgraph: string): SubgraphClient;
  subgraphsKnowCallers: boolean;
  log: Pick<Logger, "error" | "warn"> | undefined;
}

type Stock = Awaited<ReturnType<ApolloGateway["load"]>> & Pick<ApolloGateway, "stop">;

export function createApolloQueries(options: ApolloQueriesOptions): ApolloQueries {
  const { supergraph, supergraphSdl, clientOf, subgraphsKnowCallers, log } = options;
  // Of its own: a read that it joined would be the executor's.
  const reads = createSharedReads({ isByCaller: subgraphsKnowCallers });
  const documents = new WeakMap<Operation, { document: DocumentNode; hash: string }>();
  const publicSdl = withInaccessibleTags(supergraph.document, INTERNAL_TAG);
  const internal = load(supergraphSdl);
  const stocks = { internal, public: publicSdl === null ? internal : load(publicSdl) };
  const ready = Promise.all([stocks.internal, stocks.public]).then(() => undefined);
  let isUnusable = false;
  ready.catch(() => (isUnusable = true));

  async function load(sdl: string): Promise<Stock> {
    // Only where it is used: it takes long to load.
    const { ApolloGateway: Gateway } = await import("@apollo/gateway");
    const gateway = new Gateway({
      supergraphSdl: sdl,
      __exposeQueryPlanExperimental: false,
      logger: { debug() {}, info() {}, warn: (text) => log?.warn(text), error: (text) => log?.error(text) },
      buildService: ({ name }) => ({
        process: async ({ request: { query = "", variables = {} }, context }) => {
          const fetch = { query, variablesText: JSON.stringify(variables), isMutation: /^\s*mutation\b/.test(query) };
          // The same as the stock gateway got for this operation.
          const { data, errors } = await fetchFrom(clientOf(name), fetch, context as FetchRun);
          return {
            // As over HTTP by Apollo's own data source: its own to change, and numbers are JavaScript's.
            ...(data !== undefined && { data: JSON.parse(JSON.stringify(data)) as Record<string, unknown> | null }),
            ...(errors && { errors: errors.map(plainError) }),
          };
        },
      }),
    });
    return { ...(await gateway.load()), stop: () => gateway.stop() };
  }

  function documentOf(operation: Operation, text: string): { document: DocumentNode; hash: string } {
    let known = documents.get(operation);
    if (!known) {
      const definitions = [operation.definition, ...operation.fragments.values()];
      const hash = createHash("sha256").update(text).digest("hex");
      known = { document: { kind: Kind.DOCUMENT, definitions }, hash };
      documents.set(operation, known);
    }
    return known;
  }

  async function run({ operation, text, variables, context, signal }: ApolloQuery): Promise<ExecutionResult> {
    const { schema, executor } = await stocks[context.caller.kind === "service" ? "internal" : "public"];
    const { document, hash } = documentOf(operation, text);
    const fetching: FetchRun = { context, signal, reads, readScope: "", reader: null, log };
    const operationName = operation.name ?? undefined;
    const result = await executor({
      document,
      schema,
      source: text,
      queryHash: hash,
      operation: operation.definition,
      operationName: operation.name,
      // JSON, with numbers that are JavaScript's.
      request: {
        query: text,
        variables: JSON.parse(JSON.stringify(variables)) as Record<string, unknown>,
        operationName,
      },
      context: fetching,
      metrics: {},
      logger: { debug() {}, info() {}, warn: (warning: string) => log?.warn(warning), error: () => undefined },
      // It reads no more than this of Apollo Server's request context.
    } as never);
    const { valueCompletion } = (result.extensions ?? {}) as { valueCompletion?: readonly GraphQLError[] };
    const errors = [...(result.errors ?? []), ...(valueCompletion ?? [])].map((error) => told(error, context));
    return { ...(errors.length > 0 && { errors }), ...(result.data !== undefined && { data: result.data }) };
  }

  return {
    ready,
    get isUnusable() {
      return isUnusable;
    },
    async execute(query) {
      try {
        return await run(query);
      } catch (error) {
        const { requestId } = query.context;
        log?.error({ requestId, operation: query.operation.name, at: placesOf(error) }, "@apollo/gateway failed");
        const message = "@apollo/gateway could not run this operation.";
        return { errors: [graphqlError("INTERNAL_SERVER_ERROR", message, { extensions: { requestId } })] };
      }
    },
    async close() {
      const loaded = await Promise.allSettled(new Set(Object.values(stocks)));
      await Promise.all(loaded.flatMap((each) => (each.status === "fulfilled" ? [each.value.stop()] : [])));
    },
  };
}

function plainError({ message, path, extensions }: SubgraphError): GraphQLFormattedError {
  return { message, ...(path && { path }), ...(extensions && { extensions }) };
}

/** An error of the stock gateway's as the executor would tell it. */
function told(
  error: Pick<GraphQLError, "message"> & Partial<Pick<GraphQLError, "path" | "extensions">>,
  { requestId }: OperationContext,
): GraphQLError {
  const { serviceName, code, ...extensions } = error.extensions ?? {};
  const isPlain = typeof code !== "string" || code === "DOWNSTREAM_SERVICE_ERROR" || code === "INVALID_GRAPHQL";
  return new GraphQLError(error.message, {
    ...(error.path && { path: error.path }),
    extensions: {
      ...extensions,
      code: isPlain ? "INTERNAL_SERVER_ERROR" : code,
      ...(serviceName !== undefined && { service: serviceName }),
      requestId,
    },
  });
}

/** Where something was thrown: its message may have values of a subgraph's answer. */
function placesOf(error: unknown): string[] {
  const stack = error instanceof Error ? (error.stack ?? "") : "";
  return stack.split("\n").filter((line) => /^\s+at /.test(line));
}
