/** The gateway and the five subgraphs in this process, the proxy beside it as a second one. */
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { createInProcessBus, createRedisBus } from "@toolyard/events";
import { createGateway } from "@toolyard/gateway";
import { parseGatewayConfig, urlHost } from "@toolyard/gateway/config.ts";
import { createInProcessClient } from "@toolyard/gateway/execution/clients/in-process-client.ts";
import { checkHttp, checkSubgraph } from "@toolyard/gateway/observability/health.ts";
import { createTelemetry } from "@toolyard/gateway/observability/telemetry.ts";
import { openSqlIdempotencyStore } from "@toolyard/idempotency";
import { openRedis } from "@toolyard/redis";
import {
  PROXY_PERMISSIONS,
  createDeferredGraphClient,
  createLogger,
  createTokenSigner,
  createUserCaller,
  logLifetime,
  prepareDataDir,
  requirePort,
  runProcess,
} from "@toolyard/service-kit";
import { parseTogether } from "@toolyard/service-kit/process/config.ts";
import { holdSockets } from "@toolyard/service-kit/process/held-sockets.ts";
import { parseProcessConfig, parseSecretKeys } from "@toolyard/service-kit/process/process-config.ts";
import { createRequestLog } from "@toolyard/service-kit/http/request-log.ts";
import { lockFolder, requireSameKey } from "@toolyard/storage";
import { createStores } from "@toolyard/subgraph-host";
import { createAnalysisSubgraph } from "@toolyard/subgraph-analysis";
import { parseAnalysisConfig } from "@toolyard/subgraph-analysis/config.ts";
import { createDeploymentsSubgraph, createRuntimes } from "@toolyard/subgraph-deployments";
import { parseDeploymentsConfig } from "@toolyard/subgraph-deployments/config.ts";
import { createIdentitySubgraph } from "@toolyard/subgraph-identity";
import { parseIdentityConfig } from "@toolyard/subgraph-identity/config.ts";
import { createKnowledgeSubgraph } from "@toolyard/subgraph-knowledge";
import { createToolsSubgraph } from "@toolyard/subgraph-tools";
import { parseToolsConfig } from "@toolyard/subgraph-tools/config.ts";
import { renderBanner } from "./banner.ts";
import { parseOwnVariables } from "./own-variables.ts";
import { proxyEnvironment } from "./proxy-environment.ts";
import { PROXY_ALLOCATOR, proxyHeapFlags, superviseProcess } from "./supervised-process.ts";
import { installSample } from "./sample.ts";

const root = join(import.meta.dirname, "..");
/** Long enough for its supervisor to outlive it; rotated with SECRET_KEY. */
const PROXY_CREDENTIAL_SECONDS = 365 * 24 * 60 * 60;
const PROXY_GRACE_MS = 35_000;

// @apollo/gateway would report to Apollo, and ask the clouds that it knows whether it runs there, unless the operator enables that.
process.env.APOLLO_TELEMETRY_DISABLED ??= "true";

await runProcess(
  async (lifetime) => {
    const [settings, readSecretKeys, { SAMPLE: wantsSample, PROXY_MAX_HEAP_MB: proxyHeapMb }] = parseTogether(
      () => parseProcessConfig(process.env),
      () => parseSecretKeys(process.env),
      () => parseOwnVariables(process.env),
    );
    const config = parseGatewayConfig(process.env, { process: settings });
    const configs = {
      identity: parseIdentityConfig(process.env, { process: settings }),
      tools: parseToolsConfig(process.env),
      analysis: parseAnalysisConfig(process.env),
      deployments: parseDeploymentsConfig(process.env, { replicasOnExit: "stop", process: config }),
    };
    const dataDir = resolve(config.dataDir);
    const ownLogger = createLogger({ level: config.logLevel, name: "standalone" });
    logLifetime(lifetime, ownLogger, process.env);
    await prepareDataDir(dataDir, ownLogger);
    // Two processes that start and stop the same replicas would undo each other's work.
    const lock = await lockFolder(dataDir);
    lifetime.onShutdown("the data folder", () => lock.release());
    await requirePort("PORT", config.host, config.port, [config.proxyPort]);
    await requirePort("PROXY_PORT", config.host, config.proxyPort, [config.port]);
    // Before any replica is started: none ever has the proxy's port while the proxy is started again.
    const [proxySocket] = await holdSockets([{ host: config.host, port: config.proxyPort }]);
    const secretKeys = await readSecretKeys(dataDir);
    const [secretKey, ...previousSecretKeys] = secretKeys;
    await requireSameKey({ ...settings, logger: ownLogger }, secretKeys);
    const redis = settings.redis && openRedis({ settings: settings.redis, name: "standalone", logger: ownLogger });
    if (redis) lifetime.onShutdown("Redis", () => redis.close());
    const stores = createStores({
      dataDir,
      database: settings.database,
      redis,
      mongodb: settings.mongodb,
      bus: redis ? createRedisBus(redis) : createInProcessBus({ isOnlyWriter: settings.database === null }),
      schedule: config.jobsSchedule,
      retentionMs: config.retentionMs,
      logger: createLogger({ level: config.logLevel, name: "stores" }),
    });
    lifetime.onShutdown("stores", () => stores.close());
    const graph = createDeferredGraphClient();
    const shared = (name: string) => ({
      logger: createLogger({ level: config.logLevel, name }),
      stores,
      graph,
      secretKeys,
      dataDir,
      signal: lifetime.signal,
    });

    const identity = await createIdentitySubgraph({ ...shared("identity"), config: configs.identity });
    lifetime.onShutdown("identity", () => identity.close());
    const tools = await createToolsSubgraph({ ...shared("tools"), config: configs.tools });
    lifetime.onShutdown("tools", () => tools.close());
    const knowledge = await createKnowledgeSubgraph(shared("knowledge"));
    lifetime.onShutdown("knowledge", () => knowledge.close());
    const analysis = await createAnalysisSubgraph({ ...shared("analysis"), config: configs.analysis });
    lifetime.onShutdown("analysis", () => analysis.close());
    const { logger: runtimeLogger } = shared("runtime");
    const runtimes = await createRuntimes({
      config: configs.deployments,
      dataDir,
      env: process.env,
      logger: runtimeLogger,
      hiddenPaths: [join(root, ".env")],
    });
    const deployments = await createDeploymentsSubgraph({
      ...shared("deployments"),
      config: configs.deployments,
      runtimes,
    });
    lifetime.onShutdown("deployments", () => deployments.close());
    const subgraphs = [identity, tools, knowledge, analysis, deployments];

    const logger = createLogger({ level: config.logLevel, name: "gateway" });
    const notes = runtimes.flatMap(({ capabilities: { isolation } }) =>
      isolation === null || isolation.isolated ? [] : isolation.detail,
    );
    const telemetry = await createTelemetry({ config: config.telemetry, log: logger });
    const gateway = createGateway({
      config,
      telemetry,
      supergraphSdl: await readFile(join(root, "schema", "supergraph.graphql"), "utf8"),
      clients: subgraphs.map((subgraph) => createInProcessClient({ subgraph, log: logger })),
      secretKeys,
      idempotencyStore: await openSqlIdempotencyStore(stores.openDatabase),
      now: stores.now,
      scheduler: stores.scheduler,
      createTokenBuckets: stores.createTokenBuckets,
      proxyAddress: config.localProxyAddress,
      healthChecks: [
        ...subgraphs.map((subgraph) => () => checkSubgraph(subgraph)),
        () => checkHttp("proxy", `${config.localProxyAddress}/healthz`, "PROXY_PORT"),
        async () => stores.health(),
        ...(redis ? [async () => [await redis.health()]] : []),
      ],
      notes,
      gauges: () => [
        ...subgraphs.map(async (subgraph) => subgraph.gauges?.() ?? []),
        stores.gauges(),
        ...(redis ? [Promise.resolve(redis.gauges())] : []),
      ],
      logger,
      requestLog: createRequestLog({ enabled: config.logRequests, level: config.logLevel, name: "gateway" }),
    });
    lifetime.onShutdown("gateway", () => gateway.close());
    graph.connect(gateway.graph);

    const administrator = await identity.ensureFirstAdministrator();
    const server = await gateway.listen();
    lock.announce(server.url, lifetime.signal);

    const signer = createTokenSigner({ secretKey, previousSecretKeys });
    const proxy = superviseProcess({
      name: "the proxy",
      entry: join(root, "packages", "proxy", "start.mjs"),
      flags: proxyHeapFlags(proxyHeapMb),
      socket: proxySocket,
      env: {
        ...proxyEnvironment(process.env),
        ...PROXY_ALLOCATOR,
        // Gateway and proxy end together: no load balancer has another one to send calls to.
        DRAIN_SECONDS: "0",
        HOST: config.host,
        PROXY_PORT: String(config.proxyPort),
        DATA_DIR: dataDir,
        GATEWAY_URL: `http://${urlHost(config.host)}:${server.port}`,
        PROXY_CREDENTIAL: await signer.serviceToken("proxy", PROXY_PERMISSIONS, PROXY_CREDENTIAL_SECONDS),
      },
      logger,
    });
    lifetime.onShutdown("proxy", () => proxy.stop(PROXY_GRACE_MS));
    for (const subgraph of subgraphs) await subgraph.start();

    const sample =
      wantsSample && administrator.userId !== null
        ? await installSample({ graph: gateway.graph, as: createUserCaller(administrator.userId, "ADMIN") })
        : false;
    // So that the banner is true.
    await Promise.race([proxy.ready, aborted(lifetime.signal)]);
    if (lifetime.signal.aborted) return;
    process.stdout.write(
      renderBanner({
        gatewayUrl: config.publicUrl ?? server.url,
        proxyUrl: config.proxyUrl,
        behind: config.publicUrl === null ? null : { gatewayUrl: server.url, proxyUrl: config.localProxyAddress },
        introspection: config.introspection,
        dataDir,
        extra: {},
        servers: [...(settings.database ? ["MySQL"] : []), ...(settings.mongodb ? ["MongoDB"] : [])],
        administrator,
        isDefaultDataDir: dataDir === join(root, "data"),
        sample,
        registration: { open: configs.identity.registration === "open", role: configs.identity.registrationRole },
        notes: [...administrator.notes, ...notes],
      }),
    );
  },
  { shutdownSeconds: 60 },
);

async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, "abort");
}
