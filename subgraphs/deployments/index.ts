import { join } from "node:path";
import { createSchemaValidator } from "@toolyard/json-schema";
import { isPortFree } from "@toolyard/runtimes/port-probe.ts";
import type { Runtime } from "@toolyard/runtimes/runtime.ts";
import { createSqlJobLeases } from "@toolyard/scheduler";
import {
  createGraphToolShares,
  createSealer,
  createServiceCaller,
  createToolLookup,
  deriveKey,
  shareChanges,
  type Subgraph,
} from "@toolyard/service-kit";
import { createTokenSigner } from "@toolyard/service-kit/identity/tokens.ts";
import type { Supervision } from "@toolyard/service-kit/process/supervision.ts";
import { openSubgraph, type ConfiguredSubgraphOptions } from "@toolyard/subgraph-host";
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
import { createEventLogger } from "./event-logger.ts";
import { createDeploymentUrls } from "./deployment-urls.ts";
import { createReaper } from "./engine/reaper.ts";
import { createSimulatedProber } from "./engine/simulated-prober.ts";
import { createProber, type Prober } from "./engine/probe.ts";
import { reclaimReplicas } from "./engine/reclaim.ts";
import { createReconciler, type ReconcilerOptions } from "./engine/reconciler.ts";
import { createHousekeeping } from "./store/housekeeping.ts";
import { createKnownSecrets } from "./logs/known-secrets.ts";
import { createLoaders } from "./loaders.ts";
import { createLogArchive } from "./logs/log-archive.ts";
import { createInterfaceRecorder } from "./interfaces/interface-recorder.ts";
import { createInterfaceService } from "./interfaces/interface-service.ts";
import { createSqlInterfaceStore } from "./interfaces/interface-store.sql.ts";
import { createInspection } from "./inspection.ts";
import { createLogService } from "./logs/log-service.ts";
import { egressGauges, replicaGauges } from "./replica-gauges.ts";
import { resolvers } from "./resolvers.ts";
import { runtimeHealth } from "./runtimes.ts";
import { createRouteBuilder } from "./routes/route-builder.ts";
import { createRouteFeed } from "./routes/route-feed.ts";
import { createSqlRouteStore } from "./routes/route-store.sql.ts";
import { resolveHostId } from "./host-id.ts";
import { offerOf } from "./hosts/host.ts";
import { joinHosts, ownerOf } from "./hosts/host-agent.ts";
import { createSqlHostStore } from "./hosts/host-store.sql.ts";
import { createOtherHosts } from "./hosts/other-hosts.ts";
import { createHostPorts, createPlacement } from "./hosts/placement.ts";
import { createSessionCounter, createSessionTotal } from "./session-counter.ts";
import { createLoad } from "./load.ts";
import { createListedNames } from "./usage/listed-names.ts";
import { createUsageLoader } from "./usage/usage-loader.ts";
import { createUsageService } from "./usage/usage-service.ts";
import { createSqlUsageStore } from "./usage/usage-store.sql.ts";

export { parseDeploymentsConfig } from "./config.ts";
export { createRuntimes } from "./runtimes.ts";

export interface DeploymentsSubgraphOptions extends ConfiguredSubgraphOptions<DeploymentsConfig> {
  /** Where replicas can run, from `createRuntimes`; closed with the subgraph. */
  runtimes: readonly Runtime[];
  /** Of this process, where it is one of its own. */
  supervision?: Pick<Supervision, "isOver">;
  /** Where other hosts ask this subgraph over HTTP; left out where they cannot. */
  url?: string;
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
export function createDeploymentsSubgraph(options: DeploymentsSubgraphOptions): Promise<Subgraph> {
  return openSubgraph({ name: "deployments", folder: import.meta.dirname }, options, async (host) => {
    const { config, logger, graph, dataDir, runtimes, timing = {} } = options;
    const { now } = host;
    host.onClose(async () => {
      for (const runtime of runtimes) await runtime.close();
    });
    const [secretKey = "", ...previousSecretKeys] = options.secretKeys;
    const sealer = createSealer({ secretKey, previousSecretKeys });
    const database = await host.openDatabase({ entities, migrationsFolder });
    const { log: eventLog, tail: eventTail } = host.openEventLog<DeploymentEventPayload>({
      database,
      schema: deploymentEvents,
    });
    const { log: healthLog, tail: healthTail } = host.openEventLog<HealthEventPayload>({
      database,
      schema: healthEvents,
    });
    const eventLines = createEventLogger({ logger });
    const store = createSqlDeploymentStore({ database, events: eventLog, health: healthLog, onEvent: eventLines.note });
    const eventDeployments = createEventDeployments(store);
    const isShared = database.file === null;
    const hostId = await resolveHostId(config, dataDir, store, isShared);
    const hosts = createSqlHostStore(database, { now: options.now });
    const leases = createSqlJobLeases(database);
    const agent = await joinHosts({
      hosts,
      leases,
      hostId,
      // Who has the file has it alone.
      owner: isShared ? ownerOf(dataDir) : "file",
      offer: offerOf(
        { address: config.advertiseHost, url: options.url ?? null, portRange: config.portRange },
        runtimes,
      ),
      leaseMs: config.hostLeaseMs,
      now,
      logger,
      signal: options.signal,
    });
    const givesUp = () =>
      config.replicasOnExit === "stop" ||
      (config.replicasOnExit === "keep-over-restart" && options.supervision?.isOver === true);
    host.onClose(() => agent.close({ giveUp: givesUp() }));
    await reclaimReplicas({ store, runtimes, hostId, now, logger });
    const usageStore = createSqlUsageStore(database);
    const portsOf = createHostPorts({ store, hostId, isPortFree: options.isPortFree ?? isPortFree });
    const ports = portsOf(hostId, { address: config.advertiseHost, portRange: config.portRange });
    const placement = createPlacement({ store, agent, portsOf: ({ id, offer }) => portsOf(id, offer) });
    const others = createProber({ allowPrivateRemotes: config.allowPrivateRemotes });
    const prober = options.prober ?? createSimulatedProber({ runtimes, others });
    host.onClose(() => prober.close());
    const secrets = createKnownSecrets({ sealer, hostSecrets: config.hostSecrets });
    const archive = createLogArchive({ root: join(dataDir, "logs"), retentionMs: config.logRetentionMs, now });
    const reap = createReaper({
      runtimes: new Map(runtimes.map((runtime) => [runtime.kind, runtime])),
      archive,
      secrets,
      logger,
    });
    const signer = createTokenSigner({ secretKey, previousSecretKeys, now: host.now });
    const otherHosts = createOtherHosts({ store, agent, signer, logger, now });
    host.onClose(() => otherHosts.close());
    const busyReplicas = createBusyReplicas({
      now,
      tellOthers(ids) {
        const busy = new Set(ids);
        const replicas = reconciler.known().flatMap((record) => record.replicas);
        otherHosts.noteBusy(replicas.filter(({ id }) => busy.has(id)));
      },
    });
    const load = createLoad({
      now,
      tellOthers: (proxyId, loads) => otherHosts.noteLoad(proxyId, loads),
      onLoad: (deploymentId) => reconciler.noteLoad(deploymentId),
    });
    const listed = createListedNames();
    const interfaceStore = createSqlInterfaceStore(database);
    const interfaces = createInterfaceService({ store: interfaceStore });
    const reconciler = createReconciler({
      listed,
      createRecorder: (own) =>
        createInterfaceRecorder({ store: own, interfaces: interfaceStore, usage: usageStore, logger, now }),
      isBusy: busyReplicas.has,
      load,
      store,
      agent,
      placement,
      runtimes,
      prober,
      ports,
      sealer,
      secrets,
      reap,
      logger,
      now,
      ...timing,
    });
    host.onClose(() => reconciler.close({ stopReplicas: givesUp() }));
    const schemas = createSchemaValidator({ logger, signal: options.signal });
    host.onClose(() => schemas.close());
    const shareReader = createServiceCaller("deployments", ["internal:tool-shares"]);
    const shares = createGraphToolShares({ graph, as: shareReader });
    const deployments = createDeploymentService({
      store,
      shares,
      graph,
      agent,
      placement,
      sealer,
      schemas,
      now,
      reconciler,
      otherHosts,
      eventTail,
      healthTail,
      eventDeployments,
      allowPrivateRemotes: config.allowPrivateRemotes,
    });
    const services = {
      tools: createToolLookup({ graph }),
      deployments,
      eventDeployments,
      logs: createLogService({
        store,
        shares,
        shareChanges: (signal) => shareChanges({ graph, as: shareReader, signal }, null),
        runtimes,
        hostId,
        otherHosts,
        archive,
        secrets,
        eventTail,
        logger,
      }),
      inspection: createInspection(shares),
      usage: createUsageService({ store: usageStore, listed, now }),
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
      load,
      urls: createDeploymentUrls(config.proxyUrl),
      sessionsOf: createSessionCounter({ prober, sealer, otherHosts }),
    };
    const ofThisHost = () =>
      reconciler
        .known()
        .map((record) => ({ ...record, replicas: record.replicas.filter((replica) => replica.hostId === hostId) }));
    const countSessions = createSessionTotal({ sessionsOf: services.sessionsOf, running: ofThisHost, now });

    return {
      resolvers,
      createContext: (request): Context => ({
        ...request,
        loaders: createLoaders(store, eventLog),
        usageOf: createUsageLoader(services.usage, request.caller),
        interfaces: interfaces.forOperation(request.caller),
        ...services,
      }),
      start: () => reconciler.start(),
      jobs: createHousekeeping({
        eventLog,
        healthLog,
        usage: usageStore,
        store,
        hosts,
        hostId,
        leases,
        archive,
        reap,
        retentionMs: options.stores.retentionMs,
        logRetentionMs: config.logRetentionMs,
        now,
      }),
      health: async () => (await Promise.all(runtimes.map(runtimeHealth))).flat(),
      async gauges() {
        const counts = await store.countByStatus();
        const of = (status: DeploymentStatus) => counts.get(status) ?? 0;
        const active = of("STARTING") + of("RUNNING") + of("STOPPING");
        return [
          ...DEPLOYMENT_STATUSES.map((status) => ({
            name: "mcp_deployments",
            help: "Deployments by status.",
            labels: { status },
            value: of(status),
          })),
          {
            name: "mcp_deployments_active",
            help: "Deployments that are starting, running or stopping.",
            labels: {},
            value: active,
          },
          ...egressGauges(ofThisHost(), runtimes.values()),
          ...replicaGauges(ofThisHost().filter(({ replicas }) => replicas.length > 0)),
          {
            name: "mcp_sessions",
            help: "MCP sessions that are open in replicas on stdio.",
            labels: {},
            value: await countSessions(),
          },
          {
            name: "mcp_replica_restarts_total",
            help: "Failures of replicas after which they are started again.",
            labels: {},
            value: eventLines.restarts(),
          },
        ];
      },
    };
  });
}
