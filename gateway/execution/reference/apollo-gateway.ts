import type { ApolloServerOptions, BaseContext } from "@apollo/server";
import type { Executor } from "../executor.ts";
import type { OperationContext } from "../clients/subgraph-client.ts";

/** The type of Apollo Server's `gateway` option. */
export type ApolloGatewayAdapter<Context extends BaseContext> = NonNullable<ApolloServerOptions<Context>["gateway"]>;

export interface ApolloGatewayOptions<Context extends BaseContext> {
  executor: Executor;
  contextOf(context: Context): OperationContext;
}

/**
 * Lets Apollo Server run operations on the executor: `new ApolloServer({ gateway: createApolloGateway({ … }) })`. Apollo Server has
 * one schema, so this serves the public one; send service principals' operations to the executor directly.
 */
export function createApolloGateway<Context extends BaseContext>(
  options: ApolloGatewayOptions<Context>,
): ApolloGatewayAdapter<Context> {
  const { executor, contextOf } = options;
  const listeners = new Set<(schema: { apiSchema: Executor["apiSchema"]; coreSupergraphSdl: string }) => void>();
  return {
    onSchemaLoadOrUpdate(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    load() {
      for (const listener of listeners) {
        listener({ apiSchema: executor.apiSchema, coreSupergraphSdl: executor.supergraphSdl });
      }
      return Promise.resolve({
        executor: ({ source, document, operationName, request, context }) =>
          executor.execute({
            query: source,
            validDocument: document,
            operationName,
            variables: request.variables,
            // Apollo Server gives back the context that it was given for this request.
            context: contextOf(context as Context),
          }),
      });
    },
    stop: () => Promise.resolve(),
  };
}
