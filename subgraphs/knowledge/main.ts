import { runSubgraph } from "@toolyard/subgraph-host/subgraph-main.ts";
import { parseKnowledgeConfig } from "./config.ts";
import { createKnowledgeSubgraph } from "./index.ts";

await runSubgraph({
  name: "knowledge",
  env: process.env,
  parseConfig: parseKnowledgeConfig,
  create: createKnowledgeSubgraph,
});
