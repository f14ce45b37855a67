import { createInProcessBus } from "@toolyard/events";
import { runSubgraph } from "@toolyard/service-kit/subgraph-main.ts";
import { createDeploymentsSubgraph, createRuntimes, parseDeploymentsConfig } from "./index.ts";

await runSubgraph({
  name: "deployments",
  env: process.env,
  parseConfig: parseDeploymentsConfig,
  createBus: createInProcessBus,
  create: async (options) => {
    const runtimes = await createRuntimes({ ...options, env: process.env });
    return createDeploymentsSubgraph({ ...options, runtimes });
  },
});
