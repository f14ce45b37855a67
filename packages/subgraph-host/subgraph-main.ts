import type { Subgraph } from "@toolyard/service-kit/graph/subgraph.ts";
import { createClockWatch } from "@toolyard/service-kit/identity/clock-watch.ts";
import { createCallerHeaderVerifier } from "@toolyard/service-kit/identity/tokens.ts";
import type { Environment } from "@toolyard/service-kit/process/config.ts";
import type { ProcessConfig } from "@toolyard/service-kit/process/process-config.ts";
import { runProcess } from "@toolyard/service-kit/process/process-lifetime.ts";
import type { Supervision } from "@toolyard/service-kit/process/supervision.ts";
import type { ConfiguredSubgraphOptions } from "./hosted-subgraph.ts";
import { openPart } from "./part.ts";
import { serveSubgraph } from "./subgraph-server.ts";

/** Ports of the subgraphs when each runs alone, unless PORT says another. */
const SUBGRAPH_PORTS: Record<string, number> = {
  identity: 4001,
  tools: 4002,
  knowledge: 4003,
  analysis: 4004,
  deployments: 4005,
};

/** Where the process serves the subgraph, as `listen` takes it. */
export interface ListenAddress {
  host: string;
  port: number;
}

/** A subgraph's `main.ts`: reads the environment, serves the subgraph over HTTP until a signal comes. */
export async function runSubgraph<Config = undefined>(options: {
  name: string;
  env: Environment;
  /** Of variables of its own. */
  parseConfig?: (env: Environment, options: { process: ProcessConfig }) => Config;
  /** `facts` are for the process that started this one, if one did. */
  create: (
    options: ConfiguredSubgraphOptions<Config> & { listen: ListenAddress; supervision: Supervision },
  ) => Promise<Subgraph & { facts?: object }>;
}): Promise<void> {
  const { name, env, create } = options;
  // Without a parser, `Config` is undefined.
  const { parseConfig = () => undefined as Config } = options;
  const defaultPort = SUBGRAPH_PORTS[name] ?? 4000;
  await runProcess(async (lifetime) => {
    const part = await openPart({ name, defaultPort, env, parseConfig }, lifetime);
    const { allowedHosts, host, metricsToken } = part.process;
    const { logger, secretKeys, stores } = part.options;
    const watch = createClockWatch({ logger, who: "a gateway that asks here" });
    const subgraph = await create({
      ...part.options,
      listen: { host, port: part.port },
      supervision: part.supervision,
    });
    lifetime.onShutdown(name, () => subgraph.close());
    const server = await serveSubgraph({
      subgraph: {
        ...subgraph,
        health: async () => [...(await Promise.all([subgraph.health(), part.health()])).flat(), ...watch.health()],
        gauges: async () => [...((await subgraph.gauges?.()) ?? []), ...(await part.gauges())],
      },
      host,
      port: part.port,
      allowedHosts,
      metricsToken,
      verifyCaller: createCallerHeaderVerifier({ secretKeys, audience: name, now: stores.now, watch }),
      draining: lifetime.draining,
      logger,
    });
    lifetime.onShutdown("HTTP server", () => server.close());
    await subgraph.start();
    part.supervision.ready(subgraph.facts);
    logger.info({ url: server.url }, `${name} is ready`);
  });
}
