import { runSubgraph } from "@toolyard/subgraph-host/subgraph-main.ts";
import { parseToolsConfig } from "./config.ts";
import { createToolsSubgraph } from "./index.ts";

await runSubgraph({
  name: "tools",
  env: process.env,
  parseConfig: parseToolsConfig,
  create: createToolsSubgraph,
});
