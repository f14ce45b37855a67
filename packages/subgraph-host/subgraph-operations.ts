import { setImmediate as nextTurn } from "node:timers/promises";
import { ApolloServer, HeaderMap, type ApolloServerPlugin, type GraphQLRequest } from "@apollo/server";
import {
  ApolloServerPluginCacheControlDisabled,
  ApolloServerPluginLandingPageDisabled,
  ApolloServerPluginSchemaReportingDisabled,
  ApolloServerPluginUsageReportingDisabled,
} from "@apollo/server/plugin/disabled";
import { ApolloServerPluginInlineTrace } from "@apollo/server/plugin/inlineTrace";
import type { FormattedExecutionResult } from "graphql";
import { createDocumentStore } from "./apollo-document-store.ts";
import { ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import type { Logger } from "@toolyard/service-kit/process/log.ts";
import { maskErrors } from "@toolyard/service-kit/errors/mask-errors.ts";
import type { Subgraph } from "@toolyard/service-kit/graph/subgraph.ts";
import type { SignedCaller } from "@toolyard/service-kit/identity/tokens.ts";

/** In which a gateway of Apollo's asks for a federated trace. */
const TRACE_HEADER = "apollo-federation-include-trace";

interface SubgraphOperation extends SignedCaller {
  request: Pick<GraphQLRequest, "query" | "variables" | "operationName">;
  requestId: string;
  /** The value of `apollo-federation-include-trace`. */
  wantedTrace?: string | undefined;
  /** Whether somebody waits for the answer. */
  isAwaited: () => boolean;
}

/** Runs a subgraph's queries and mutations by Apollo Server, with its federated traces. */
export interface SubgraphOperations {
  /** @throws ToolyardError UNAUTHENTICATED for a mutation whose caller was signed for a query; UPSTREAM_UNAVAILABLE for one that nobody waits for, before it begins */
  execute(operation: SubgraphOperation): Promise<FormattedExecutionResult>;
  close(): Promise<void>;
}

/** Facts about an operation that the plugins need beside the resolvers' context. Apollo Server copies the context, with its symbols. */
const SENT = Symbol("operation");
type Context = object & { [SENT]: Sent };
interface Sent {
  requestId: string;
  isMutation: boolean;
  isAwaited: () => boolean;
  refusal: ToolyardError | null;
}

/**
 * @param options.forStrangers Introspection is off, documents are small and not cached, and there are no traces.
 */
export async function createSubgraphOperations(options: {
  subgraph: Subgraph;
  forStrangers: { maxTokens: number } | null;
  logger: Logger;
}): Promise<SubgraphOperations> {
  const { subgraph, forStrangers, logger } = options;
  const server = new ApolloServer<Context>({
    schema: subgraph.schema,
    introspection: forStrangers === null,
    documentStore: forStrangers ? null : createDocumentStore(),
    parseOptions: forStrangers ?? {},
    // Each message would show the whole invalid value. The gateway has reported all such errors to its clients.
    executionOptions: { maxCoercionErrors: 1 },
    includeStacktraceInErrorResponses: false,
    stopOnTerminationSignals: false,
    persistedQueries: false,
    nodeEnv: "production",
    logger: {
      debug: (message) => logger.debug(message),
      info: (message) => logger.debug(message),
      warn: (message) => logger.warn(message),
      error: (message) => logger.error(message),
    },
    plugins: [
      refuseMutations(logger),
      errorsFitForClients(logger),
      // Whose messages have not been masked yet.
      ...(forStrangers ? [] : [ApolloServerPluginInlineTrace({ includeErrors: { masked: true } })]),
      // APOLLO_KEY would turn these on. The gateway reports usage, in its own way.
      ApolloServerPluginUsageReportingDisabled(),
      ApolloServerPluginSchemaReportingDisabled(),
      ApolloServerPluginCacheControlDisabled(),
      ApolloServerPluginLandingPageDisabled(),
    ],
  });
  await server.start();

  return {
    async execute({ request, caller, clientAddress, isMutation, isAwaited, requestId, wantedTrace }) {
      const warnings: string[] = [];
      const warn = (warning: string) => void warnings.push(warning);
      const sent: Sent = { requestId, isMutation, isAwaited, refusal: null };
      const context = subgraph.createContext({ caller, requestId, clientAddress, warn });
      const headers = new HeaderMap(wantedTrace === undefined ? [] : [[TRACE_HEADER, wantedTrace]]);
      const { body } = await server.executeOperation(
        { ...request, http: { method: "POST", headers, search: "", body: null } },
        { contextValue: Object.assign(context, { [SENT]: sent }) },
      );
      if (sent.refusal) throw sent.refusal;
      if (body.kind !== "single") throw new Error("A subgraph's answer came in parts.");
      const { data, errors, extensions } = body.singleResult;
      const told = { ...extensions, ...(warnings.length > 0 && { warnings }) };
      return {
        ...(errors && { errors }),
        ...(data !== undefined && { data }),
        ...(Object.keys(told).length > 0 && { extensions: told }),
      };
    },
    close: () => server.stop(),
  };
}

/**
 * Those whose caller was signed for a query, and those that were read late, as after this process was stopped for a while: whoever sent one was told
 * that it had no answer, and closed its connection.
 */
function refuseMutations(logger: Logger): ApolloServerPlugin<Context> {
  return {
    requestDidStart: () =>
      Promise.resolve({
        async didResolveOperation({ operation, contextValue }) {
          if (operation?.operation !== "mutation") return;
          const sent = contextValue[SENT];
          if (!sent.isMutation) {
            const message = "The caller header was signed for a query, and this is a mutation.";
            sent.refusal = new ToolyardError("UNAUTHENTICATED", message);
          } else if (!(await isStillAwaited(sent))) {
            const message = "Nobody waits for this mutation any more: it was not begun.";
            sent.refusal = new ToolyardError("UPSTREAM_UNAVAILABLE", message);
            logger.warn({ request_id: sent.requestId, mutation: operation.name?.value }, message);
          }
          if (sent.refusal) throw sent.refusal;
        },
      }),
  };
}

async function isStillAwaited({ isAwaited }: Sent): Promise<boolean> {
  // A whole turn of the event loop: a connection's end is read after the data before it.
  await nextTurn();
  await nextTurn();
  return isAwaited();
}

function errorsFitForClients(logger: Logger): ApolloServerPlugin<Context> {
  return {
    requestDidStart: () =>
      Promise.resolve({
        willSendResponse({ errors, response, contextValue }) {
          if (!errors || response.body.kind !== "single") return Promise.resolve();
          // Apollo Server's word to itself, which it takes out of its own formatted errors.
          for (const { extensions } of errors) delete extensions["http"];
          const { requestId } = contextValue[SENT];
          response.body.singleResult.errors = maskErrors(errors, { logger, requestId }).map((error) => error.toJSON());
          return Promise.resolve();
        },
      }),
  };
}
