export { createGateway, type Gateway, type GatewayOptions } from "./gateway.ts";
export {
  createExecutor,
  type Executor,
  type ExecutorOptions,
  type OperationRequest,
  type InspectedOperation,
} from "./execution/executor.ts";
export { createApiSchema } from "./execution/schema/api-schema.ts";
export {
  createApolloGateway,
  type ApolloGatewayAdapter,
  type ApolloGatewayOptions,
} from "./execution/reference/apollo-gateway.ts";
export { createInProcessClient, type InProcessClientOptions } from "./execution/clients/in-process-client.ts";
export type {
  OperationContext,
  SubgraphClient,
  SubgraphError,
  SubgraphRequest,
  SubgraphResponse,
} from "./execution/clients/subgraph-client.ts";
export type { QueryPlan } from "./execution/planning/query-plan.ts";
export type { PlanRequest, QueryPlanner } from "./execution/planning/query-planner.ts";
export { parseSupergraph, type Supergraph } from "./execution/schema/supergraph.ts";
export {
  createSubscriptionEngine,
  type SubscriptionEngine,
  type SubscriptionEngineOptions,
} from "./subscriptions/subscription-engine.ts";
