import { runSubgraph } from "@toolyard/subgraph-host/subgraph-main.ts";
import { parseAnalysisConfig } from "./config.ts";
import { createAnalysisSubgraph } from "./index.ts";

await runSubgraph({
  name: "analysis",
  env: process.env,
  parseConfig: parseAnalysisConfig,
  create: createAnalysisSubgraph,
});
