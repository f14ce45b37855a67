import { isIP } from "node:net";
import { httpUrl } from "@toolyard/runtimes/endpoint/http-url.ts";
import { runSubgraph, type ListenAddress } from "@toolyard/subgraph-host/subgraph-main.ts";
import { lockFolder } from "@toolyard/storage";
import { createDeploymentsSubgraph, createRuntimes, parseDeploymentsConfig } from "./index.ts";

await runSubgraph({
  name: "deployments",
  env: process.env,
  parseConfig: parseDeploymentsConfig,
  create: async ({ listen, ...options }) => {
    // Two that start and stop the same replicas would undo each other's work.
    const lock = await lockFolder(options.dataDir);
    const runtimes = await createRuntimes({ ...options, env: process.env });
    // It is the agent of its host, so what it has to do is done here, also where there are workers.
    const subgraph = await createDeploymentsSubgraph({
      ...options,
      runtimes,
      url: urlForOthers(listen, options.config.advertiseHost),
      runsTasks: true,
    });
    const notes = runtimes.flatMap(({ capabilities: { isolation } }) =>
      isolation === null || isolation.isolated ? [] : isolation.detail,
    );
    return {
      ...subgraph,
      facts: { notes },
      async close() {
        await subgraph.close();
        lock.release();
      },
    };
  },
});

/** One that listens at every address is reached at the one of its replicas. */
function urlForOthers({ host, port }: ListenAddress, advertiseHost: string): string {
  const isEvery = isIP(host) !== 0 && /^[0:.]+$/.test(host);
  return `${httpUrl(isEvery ? advertiseHost : host, port)}/graphql`;
}
