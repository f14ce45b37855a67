import { createInProcessBus } from "@toolyard/events";
import { runSubgraph } from "@toolyard/subgraph-host/subgraph-main.ts";
import { parseKnowledgeConfig } from "./config.ts";
import { createKnowledgeSubgraph } from "./index.ts";

await runSubgraph({
  name: "knowledge",
  env: process.env,
  parseConfig: parseKnowledgeConfig,
  createBus: createInProcessBus,
  create: createKnowledgeSubgraph,
});
