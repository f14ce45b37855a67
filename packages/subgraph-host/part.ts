import { createInProcessBus, createRedisBus } from "@toolyard/events";
import { openRedis } from "@toolyard/redis";
import { createHttpGraphClient, signedBy } from "@toolyard/service-kit/graph/http-graph-client.ts";
import type { Gauge, ServiceHealth } from "@toolyard/service-kit/graph/subgraph.ts";
import { createTokenSigner } from "@toolyard/service-kit/identity/tokens.ts";
import { prepareDataDir } from "@toolyard/service-kit/process/data-dir.ts";
import {
  flag,
  parseEnvironment,
  parseTogether,
  port as portVariable,
  type Environment,
} from "@toolyard/service-kit/process/config.ts";
import { createLogger } from "@toolyard/service-kit/process/log.ts";
import {
  drainSeconds,
  gatewayUrl as gatewayUrlVariable,
  parseProcessConfig,
  parseSecretKeys,
  type ProcessConfig,
} from "@toolyard/service-kit/process/process-config.ts";
import { inheritSocket } from "@toolyard/service-kit/process/listening-socket.ts";
import { logLifetime, type ProcessLifetime } from "@toolyard/service-kit/process/process-lifetime.ts";
import { requirePort } from "@toolyard/service-kit/process/required-port.ts";
import { followSupervisor, type Supervision } from "@toolyard/service-kit/process/supervision.ts";
import { requireSameKey } from "@toolyard/storage";
import type { ConfiguredSubgraphOptions } from "./hosted-subgraph.ts";
import { createStores } from "./stores.ts";

/** The variables of parts that run alone, beside those of every process. */
export const partVariables = (defaultPort: number) => ({
  PORT: portVariable(defaultPort),
  GATEWAY_URL: gatewayUrlVariable,
  RUN_TASKS: flag(true),
  DRAIN_SECONDS: drainSeconds,
});

/** A part of the control plane that runs alone and keeps data. */
export interface Part<Config> {
  process: ProcessConfig;
  port: number;
  /** For the subgraphs that it hosts. */
  options: ConfiguredSubgraphOptions<Config>;
  /** Health and gauges of what its subgraphs share. */
  health: () => Promise<ServiceHealth[]>;
  gauges: () => Promise<Gauge[]>;
  supervision: Supervision;
}

/**
 * Reads the environment and opens what the subgraphs of a process share; all of it is closed at the process's end.
 * @param wanted.parseConfig Of variables of its own.
 * @throws ConfigError naming every wrong variable
 */
export async function openPart<Config>(
  wanted: {
    name: string;
    defaultPort: number;
    env: Environment;
    parseConfig: (env: Environment, options: { process: ProcessConfig }) => Config;
  },
  lifetime: ProcessLifetime,
): Promise<Part<Config>> {
  const { name, defaultPort, env, parseConfig } = wanted;
  const [process, own, readSecretKeys] = parseTogether(
    () => parseProcessConfig(env),
    () => parseEnvironment(partVariables(defaultPort), env),
    () => parseSecretKeys(env),
  );
  const { PORT: port, GATEWAY_URL: gatewayUrl, RUN_TASKS: runsTasks } = own;
  const config = parseConfig(env, { process });
  const { host, dataDir, jobsSchedule, retentionMs } = process;
  const logger = createLogger({ level: process.logLevel, name });
  logLifetime(lifetime, logger, env);
  lifetime.drainFor(own.DRAIN_SECONDS * 1_000);
  const supervision = followSupervisor(lifetime);
  inheritSocket(env);
  await requirePort("PORT", host, port);
  await prepareDataDir(dataDir, logger);
  const secretKeys = await readSecretKeys(dataDir);
  await requireSameKey({ ...process, logger }, secretKeys);
  const [current, ...previous] = secretKeys;
  const signer = createTokenSigner({ secretKey: current, previousSecretKeys: previous, now: () => stores.now() });
  const graph = createHttpGraphClient({ gatewayUrl, headersOf: signedBy(signer) });
  lifetime.onShutdown("graph client", () => graph.close());
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
  return {
    process,
    port,
    options: { config, logger, graph, secretKeys, dataDir, stores, runsTasks, signal: lifetime.signal },
    health: async () => [...stores.health(), ...(redis ? [await redis.health()] : [])],
    gauges: async () => [...(redis?.gauges() ?? []), ...(await stores.gauges())],
    supervision,
  };
}
