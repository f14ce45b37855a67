export {
  openSubgraph,
  type ConfiguredSubgraphOptions,
  type SubgraphOptions,
  type SubgraphParts,
} from "./hosted-subgraph.ts";
export { createSqliteStores } from "./stores.ts";
