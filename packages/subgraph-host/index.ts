export {
  openSubgraph,
  type ConfiguredSubgraphOptions,
  type SubgraphHost,
  type SubgraphOptions,
  type SubgraphParts,
} from "./hosted-subgraph.ts";
export { createStores } from "./stores.ts";
