export {
  openSubgraph,
  type SubgraphHost,
  type SubgraphOptions,
  type SubgraphParts,
  type TaskRunner,
} from "./hosted-subgraph.ts";
export { createSqliteStores, type Stores } from "./stores.ts";
