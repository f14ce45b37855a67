import { runSubgraph } from "@toolyard/subgraph-host/subgraph-main.ts";
import { createToolsSubgraph } from "./index.ts";

await runSubgraph({
  name: "tools",
  env: process.env,
  create: createToolsSubgraph,
});
