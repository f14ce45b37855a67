export { createGateway, type Gateway, type GatewayOptions } from "./gateway.ts";
export {
  createExecutor,
  type Executor,
  type ExecutorOptions,
  type GraphRequest,
  type InspectedOperation,
} from "./execution/executor.ts";
export { createApiSchema } from "./execution/api-schema.ts";
export {
  createApolloGateway,
  type ApolloGatewayAdapter,
  type ApolloGatewayOptions,
} from "./execution/apollo-gateway.ts";
export { createInProcessClient, type InProcessClientOptions } from "./execution/in-process-client.ts";
export type {
  OperationContext,
  SubgraphClient,
  SubgraphError,
  SubgraphRequest,
  SubgraphResponse,
} from "./execution/subgraph-client.ts";
export type { QueryPlan } from "./execution/query-plan.ts";
export type { PlanRequest, QueryPlanner } from "./execution/query-planner.ts";
export { parseSupergraph, type Supergraph } from "./execution/supergraph.ts";
export {
  createSubscriptionEngine,
  type SubscriptionEngine,
  type SubscriptionEngineOptions,
} from "./subscriptions/subscription-engine.ts";
export {
  createGraphqlTransportWs,
  type GraphqlTransportWs,
  type GraphqlTransportWsOptions,
} from "./subscriptions/graphql-transport-ws.ts";
