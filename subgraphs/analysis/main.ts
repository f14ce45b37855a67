import { runSubgraph } from "@toolyard/subgraph-host/subgraph-main.ts";
import { createAnalysisSubgraph } from "./index.ts";

await runSubgraph({
  name: "analysis",
  env: process.env,
  create: createAnalysisSubgraph,
});
