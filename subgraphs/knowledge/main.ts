import { runSubgraph } from "@toolyard/subgraph-host/subgraph-main.ts";
import { createKnowledgeSubgraph } from "./index.ts";

await runSubgraph({
  name: "knowledge",
  env: process.env,
  create: createKnowledgeSubgraph,
});
