import { createInProcessBus } from "@toolyard/events";
import { createHttpGraphClient } from "@toolyard/service-kit/graph/http-graph-client.ts";
import {
  baseUrl,
  list,
  logLevel,
  metricsToken,
  parseEnvironment,
  port,
  refuseUnusedServers,
  secretKey,
  type Environment,
} from "@toolyard/service-kit/process/config.ts";
import { prepareDataDir } from "@toolyard/service-kit/process/data-dir.ts";
import { createLogger } from "@toolyard/service-kit/process/log.ts";
import { logLifetime, runProcess } from "@toolyard/service-kit/process/process-lifetime.ts";
import { requirePort } from "@toolyard/service-kit/process/required-port.ts";
import { readSecretKey } from "@toolyard/service-kit/identity/secret-key.ts";
import type { SubgraphOptions } from "./hosted-subgraph.ts";
import { createSqliteStores } from "./stores.ts";
import { serveSubgraph } from "./subgraph-server.ts";
import type { Subgraph } from "@toolyard/service-kit/graph/subgraph.ts";
import { createCallerHeaderVerifier, createTokenSigner } from "@toolyard/service-kit/identity/tokens.ts";
import { z } from "zod";

/** Ports of the subgraphs when each runs alone, unless PORT says another. */
const SUBGRAPH_PORTS: Record<string, number> = {
  identity: 4001,
  tools: 4002,
  knowledge: 4003,
  analysis: 4004,
  deployments: 4005,
};

const shape = (name: string) => ({
  HOST: z.string().default("127.0.0.1").meta({ example: "127.0.0.1" }),
  PORT: port(SUBGRAPH_PORTS[name] ?? 4000),
  DATA_DIR: z.string().default("./data").meta({ example: "./data" }),
  SECRET_KEY: secretKey.optional(),
  SECRET_KEY_PREVIOUS: list([], "an earlier SECRET_KEY"),
  ALLOWED_HOSTS: list([], "toolyard.example.com"),
  GATEWAY_URL: baseUrl("http://127.0.0.1:4000").default("http://127.0.0.1:4000"),
  LOG_LEVEL: logLevel,
  METRICS_TOKEN: metricsToken,
});

/** A subgraph's `main.ts`: reads the environment, serves the subgraph over HTTP until a signal comes. */
export async function runSubgraph<Config>(options: {
  name: string;
  env: Environment;
  parseConfig: (env: Environment) => Config;
  create: (options: SubgraphOptions<Config>) => Promise<Subgraph>;
}): Promise<void> {
  const { name, env, parseConfig, create } = options;
  await runProcess(async (lifetime) => {
    refuseUnusedServers(env);
    const common = parseEnvironment(shape(name), env);
    const config = parseConfig(env);
    const logger = createLogger({ level: common.LOG_LEVEL, name });
    logLifetime(lifetime, logger);
    await requirePort("PORT", common.HOST, common.PORT);
    await prepareDataDir(common.DATA_DIR, logger);
    const secretKeys = [common.SECRET_KEY ?? (await readSecretKey(common.DATA_DIR)), ...common.SECRET_KEY_PREVIOUS];
    const [current = "", ...previous] = secretKeys;
    const signer = createTokenSigner({ secretKey: current, previousSecretKeys: previous });
    const graph = createHttpGraphClient({ gatewayUrl: common.GATEWAY_URL, signer });
    lifetime.onShutdown("graph client", () => graph.close());
    const { DATA_DIR: dataDir } = common;
    const { signal } = lifetime;
    const stores = createSqliteStores({ dataDir, bus: createInProcessBus(), logger });
    lifetime.onShutdown("stores", () => stores.close());
    const subgraph = await create({ config, logger, graph, secretKeys, dataDir, stores, signal });
    lifetime.onShutdown(name, () => subgraph.close());
    const verifyCaller = createCallerHeaderVerifier({ secretKeys, audience: name });
    const server = await serveSubgraph({
      subgraph,
      host: common.HOST,
      port: common.PORT,
      allowedHosts: common.ALLOWED_HOSTS,
      metricsToken: common.METRICS_TOKEN ?? null,
      verifyCaller,
      logger,
    });
    lifetime.onShutdown("HTTP server", () => server.close());
    await subgraph.start();
    logger.info({ url: server.url }, `${name} is ready`);
  });
}
