import { createInProcessBus, createRedisBus } from "@toolyard/events";
import { openRedis } from "@toolyard/redis";
import { createHttpGraphClient, signedBy } from "@toolyard/service-kit/graph/http-graph-client.ts";
import {
  parseEnvironment,
  parseTogether,
  port as portVariable,
  type Environment,
} from "@toolyard/service-kit/process/config.ts";
import {
  gatewayUrl as gatewayUrlVariable,
  parseProcessConfig,
  parseSecretKeys,
  type ProcessConfig,
} from "@toolyard/service-kit/process/process-config.ts";
import { prepareDataDir } from "@toolyard/service-kit/process/data-dir.ts";
import { createLogger } from "@toolyard/service-kit/process/log.ts";
import { logLifetime, runProcess } from "@toolyard/service-kit/process/process-lifetime.ts";
import { requirePort } from "@toolyard/service-kit/process/required-port.ts";
import { requireSameKey } from "@toolyard/storage";
import type { ConfiguredSubgraphOptions } from "./hosted-subgraph.ts";
import { createStores } from "./stores.ts";
import { serveSubgraph } from "./subgraph-server.ts";
import type { Subgraph } from "@toolyard/service-kit/graph/subgraph.ts";
import { createCallerHeaderVerifier, createTokenSigner } from "@toolyard/service-kit/identity/tokens.ts";

/** Ports of the subgraphs when each runs alone, unless PORT says another. */
const SUBGRAPH_PORTS: Record<string, number> = {
  identity: 4001,
  tools: 4002,
  knowledge: 4003,
  analysis: 4004,
  deployments: 4005,
};

const variables = (name: string) => ({
  PORT: portVariable(SUBGRAPH_PORTS[name] ?? 4000),
  GATEWAY_URL: gatewayUrlVariable,
});

/** A subgraph's `main.ts`: reads the environment, serves the subgraph over HTTP until a signal comes. */
export async function runSubgraph<Config = undefined>(options: {
  name: string;
  env: Environment;
  /** Of variables of its own. */
  parseConfig?: (env: Environment, options: { process: ProcessConfig }) => Config;
  create: (options: ConfiguredSubgraphOptions<Config>) => Promise<Subgraph>;
}): Promise<void> {
  const { name, env, parseConfig, create } = options;
  await runProcess(async (lifetime) => {
    const [process, { PORT: port, GATEWAY_URL: gatewayUrl }, readSecretKeys] = parseTogether(
      () => parseProcessConfig(env),
      () => parseEnvironment(variables(name), env),
      () => parseSecretKeys(env),
    );
    const { host, dataDir, jobsSchedule, retentionMs } = process;
    // Without a parser, `Config` is undefined.
    const config = parseConfig?.(env, { process }) as Config;
    const logger = createLogger({ level: process.logLevel, name });
    logLifetime(lifetime, logger);
    await requirePort("PORT", host, port);
    await prepareDataDir(dataDir, logger);
    const secretKeys = await readSecretKeys(dataDir);
    await requireSameKey(process, secretKeys);
    const [current, ...previous] = secretKeys;
    const signer = createTokenSigner({ secretKey: current, previousSecretKeys: previous });
    const graph = createHttpGraphClient({ gatewayUrl, headersOf: signedBy(signer) });
    lifetime.onShutdown("graph client", () => graph.close());
    const { signal } = lifetime;
    const redis = process.redis && openRedis({ settings: process.redis, name, logger });
    if (redis) lifetime.onShutdown("Redis", () => redis.close());
    const stores = createStores({
      dataDir,
      database: process.database,
      redis,
      mongodb: process.mongodb,
      bus: redis ? createRedisBus(redis) : createInProcessBus(),
      logger,
      schedule: jobsSchedule,
      retentionMs,
    });
    lifetime.onShutdown("stores", () => stores.close());
    const subgraph = await create({ config, logger, graph, secretKeys, dataDir, stores, signal });
    lifetime.onShutdown(name, () => subgraph.close());
    const verifyCaller = createCallerHeaderVerifier({ secretKeys, audience: name });
    const server = await serveSubgraph({
      subgraph: {
        ...subgraph,
        health: async () => [...(await subgraph.health()), ...(redis ? [await redis.health()] : [])],
        gauges: async () => [
          ...((await subgraph.gauges?.()) ?? []),
          ...(redis?.gauges() ?? []),
          ...(await stores.gauges()),
        ],
      },
      host,
      port,
      allowedHosts: process.allowedHosts,
      metricsToken: process.metricsToken,
      verifyCaller,
      logger,
    });
    lifetime.onShutdown("HTTP server", () => server.close());
    await subgraph.start();
    logger.info({ url: server.url }, `${name} is ready`);
  });
}
