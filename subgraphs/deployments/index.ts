import { readFileSync } from "node:fs";
import { join } from "node:path";
import { buildSubgraphSchema } from "@apollo/subgraph";
import type { GraphQLResolverMap } from "@apollo/subgraph/dist/schema-helper/resolverMap.js";
import { createEventLog, createEventTail, type WakeUpBus } from "@toolyard/events";
import { createSchemaValidator } from "@toolyard/json-schema";
import { isPortFree } from "@toolyard/runtimes/port-probe.ts";
import type { Runtime } from "@toolyard/runtimes/runtime.ts";
import {
  createSealer,
  createToolLookup,
  deriveKey,
  measureHealth,
  type GraphClient,
  type Logger,
  type Subgraph,
} from "@toolyard/service-kit";
import { openDatabase, readMigrations } from "@toolyard/storage";
import { parse } from "graphql";
import { createBusyReplicas } from "./busy-replicas.ts";
import type { DeploymentsConfig } from "./config.ts";
import type { Context } from "./context.ts";
import { deploymentEvents, entities, healthEvents, migrationsFolder } from "./database.ts";
import {
  DEPLOYMENT_STATUSES,
  type DeploymentEventPayload,
  type DeploymentStatus,
  type HealthEventPayload,
} from "./deployment.ts";
import { createDeploymentService } from "./deployment-service.ts";
import { createSqlDeploymentStore } from "./store/deployment-store.sql.ts";
import { createEventDeployments } from "./event-deployments.ts";
import { createEventLines } from "./event-lines.ts";
import { createDeploymentUrls } from "./deployment-urls.ts";
import { createBurial } from "./engine/burial.ts";
import { createMockProber, isMockRuntime } from "./engine/mock-prober.ts";
import { createPortAllocator } from "./engine/ports.ts";
import { createProber, type Prober } from "./engine/probe.ts";
import { reclaimReplicas } from "./engine/reclaim.ts";
import { createReconciler, type ReconcilerOptions } from "./engine/reconciler.ts";
import { startHousekeeping } from "./store/housekeeping.ts";
import { createKnownSecrets } from "./logs/known-secrets.ts";
import { createLoaders } from "./loaders.ts";
import { createLogArchive } from "./logs/log-archive.ts";
import { createLogService } from "./logs/log-service.ts";
import { resolvers } from "./resolvers.ts";
import { createRouteBuilder } from "./routes/route-builder.ts";
import { createRouteFeed } from "./routes/route-feed.ts";
import { createSqlRouteStore } from "./routes/route-store.sql.ts";
import { resolveHostId } from "./runtime-wiring.ts";
import { createSessionCounter, createSessionTotal } from "./session-counter.ts";
import { createUsageLoader } from "./usage/usage-loader.ts";
import { createUsageService } from "./usage/usage-service.ts";
import { createSqlUsageStore } from "./usage/usage-store.sql.ts";

export { parseDeploymentsConfig, type DeploymentsConfig } from "./config.ts";
export { createRuntimes } from "./runtime-wiring.ts";

export interface DeploymentsSubgraphOptions {
  config: DeploymentsConfig;
  logger: Logger;
  bus: WakeUpBus;
  graph: GraphClient;
  /** The current one first. */
  secretKeys: readonly string[];
  dataDir: string;
  /** Where replicas can run, from `createRuntimes`; closed with the subgraph. */
  runtimes: readonly Runtime[];
  /** Aborts when Toolyard begins to stop: long work is not waited for. */
  signal?: AbortSignal;
  now?: () => number;
  /** For tests: how replicas are called, and the reconciler's times. */
  prober?: Prober;
  timing?: Pick<ReconcilerOptions, "sweepIntervalMs" | "drainMs" | "graceMs" | "random">;
  isPortFree?: (address: string, port: number) => Promise<boolean>;
  /** For tests: of how many stopped tools proxies can tell by name. */
  stoppedRoutes?: number;
}

/** Of more than that a proxy says that they are unknown. */
const STOPPED_ROUTES = 1_000;

/** The deployments subgraph: its graph, its store, and the engine that starts and stops replicas. */
export async function createDeploymentsSubgraph(options: DeploymentsSubgraphOptions): Promise<Subgraph> {
  const { config, logger, bus, graph, dataDir, runtimes, now = Date.now, timing = {} } = options;
  const [secretKey = "", ...previousSecretKeys] = options.secretKeys;
  const sealer = createSealer({ secretKey, previousSecretKeys });
  const schemas = createSchemaValidator({ logger, signal: options.signal });
  const database = await openDatabase({
    file: join(dataDir, "deployments.sqlite"),
    entities,
    migrations: readMigrations(migrationsFolder),
  });
  const eventLog = createEventLog<DeploymentEventPayload>({
    database,
    schema: deploymentEvents,
    bus,
    topic: "deployment-events",
    now,
  });
  const healthLog = createEventLog<HealthEventPayload>({
    database,
    schema: healthEvents,
    bus,
    topic: "deployment-health",
    now,
  });
  const eventTail = createEventTail({ log: eventLog, bus, logger });
  const healthTail = createEventTail({ log: healthLog, bus, logger });
  const eventLines = createEventLines({ logger });
  const store = createSqlDeploymentStore({ database, events: eventLog, health: healthLog, onEvent: eventLines.note });
  const eventDeployments = createEventDeployments(store);
  const hostId = await resolveHostId(config, dataDir, store);
  await reclaimReplicas({ store, runtimes, hostId, now, logger });
  const usageStore = createSqlUsageStore(database);
  const address = config.advertiseHost;
  const ports = createPortAllocator({
    range: config.portRange,
    address,
    portsInUse: () => store.portsInUse(hostId),
    isPortFree: options.isPortFree ?? isPortFree,
  });
  const prober = options.prober ?? chooseProber(config, runtimes);
  const secrets = createKnownSecrets({ sealer, hostSecrets: config.hostSecrets });
  const archive = createLogArchive({ root: join(dataDir, "logs"), retentionMs: config.logRetentionMs, now });
  const bury = createBurial({
    runtimes: new Map(runtimes.map((runtime) => [runtime.kind, runtime])),
    archive,
    secrets,
    logger,
  });
  const busyReplicas = createBusyReplicas({ now });
  const reconciler = createReconciler({
    isBusy: (replicaId) => busyReplicas.has(replicaId),
    store,
    runtimes,
    prober,
    ports,
    sealer,
    secrets,
    bury,
    logger,
    hostId,
    address,
    now,
    ...timing,
  });
  const deployments = createDeploymentService({
    store,
    graph,
    runtimes,
    ports,
    sealer,
    schemas,
    hostId,
    address,
    now,
    reconciler,
    eventTail,
    healthTail,
    eventDeployments,
    allowPrivateRemotes: config.allowPrivateRemotes,
  });
  const services = {
    tools: createToolLookup({ graph }),
    deployments,
    eventDeployments,
    logs: createLogService({ store, runtimes, archive, secrets, eventTail, logger }),
    usage: createUsageService({ store: usageStore, now }),
    routes: createRouteFeed({
      builder: createRouteBuilder({
        store,
        routes: createSqlRouteStore(database),
        sealer,
        stoppedRoutes: options.stoppedRoutes ?? STOPPED_ROUTES,
        logger,
      }),
      log: eventLog,
      tail: eventTail,
      sessionKey: deriveKey(secretKey, "proxy-session").toString("base64url"),
    }),
    busyReplicas,
    urls: createDeploymentUrls(config.proxyUrl),
    sessionsOf: createSessionCounter({ prober, sealer }),
  };
  const countSessions = createSessionTotal({ sessionsOf: services.sessionsOf, running: reconciler.known, now });
  let stopHousekeeping: (() => Promise<void>) | null = null;
  const sdl = readFileSync(join(import.meta.dirname, "generated", "schema.graphql"), "utf8");

  let closing: Promise<void> | null = null;
  async function close(): Promise<void> {
    eventTail.close();
    healthTail.close();
    await schemas.close();
    await stopHousekeeping?.();
    await reconciler.close({ stopReplicas: config.replicasOnExit === "stop" });
    await prober.close();
    for (const runtime of runtimes) await runtime.close();
    await database.close();
  }

  return {
    name: "deployments",
    schema: buildSubgraphSchema({
      typeDefs: parse(sdl), // The generated type says which resolvers there may be; Apollo's only that there are some, by any name.
      resolvers: resolvers as GraphQLResolverMap<unknown>,
    }),
    createContext: (request): Context => ({
      ...request,
      loaders: createLoaders(store, eventLog),
      usageOf: createUsageLoader(services.usage, request.caller),
      ...services,
    }),
    async start() {
      reconciler.start();
      stopHousekeeping = startHousekeeping({
        eventLog,
        healthLog,
        usage: usageStore,
        store,
        archive,
        bury,
        logRetentionMs: config.logRetentionMs,
        logger,
        now,
      });
    },
    async health() {
      return [
        await measureHealth("sqlite", () => database.ping()),
        ...runtimes.map(({ kind, capabilities }) => ({
          name: `runtime:${kind.toLowerCase()}`,
          status: "healthy" as const,
          responseTimeMs: 0,
          detail: capabilities.isolationDetail,
        })),
      ];
    },
    async gauges() {
      const counts = await store.countByStatus();
      const of = (status: DeploymentStatus) => counts.get(status) ?? 0;
      return {
        ...Object.fromEntries(DEPLOYMENT_STATUSES.map((status) => [`mcp_deployments{status="${status}"}`, of(status)])),
        mcp_deployments_active: of("STARTING") + of("RUNNING") + of("STOPPING"),
        mcp_sessions: await countSessions(),
        mcp_replica_restarts_total: eventLines.restarts(),
      };
    },
    close: () => (closing ??= close()),
  };
}

/** Simulated replicas are not called: they say themselves whether they would answer. */
function chooseProber(config: DeploymentsConfig, runtimes: readonly Runtime[]): Prober {
  const real = createProber({ allowPrivateRemotes: config.allowPrivateRemotes });
  const mock = runtimes.find(isMockRuntime);
  return mock ? createMockProber({ runtime: mock, others: real }) : real;
}
