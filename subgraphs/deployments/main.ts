import { runSubgraph } from "@toolyard/subgraph-host/subgraph-main.ts";
import { lockFolder } from "@toolyard/storage";
import { createDeploymentsSubgraph, createRuntimes, parseDeploymentsConfig } from "./index.ts";

await runSubgraph({
  name: "deployments",
  env: process.env,
  parseConfig: parseDeploymentsConfig,
  create: async (options) => {
    // Two that start and stop the same replicas would undo each other's work.
    const lock = await lockFolder(options.dataDir);
    const runtimes = await createRuntimes({ ...options, env: process.env });
    const subgraph = await createDeploymentsSubgraph({ ...options, runtimes });
    return {
      ...subgraph,
      async close() {
        await subgraph.close();
        lock.release();
      },
    };
  },
});
