import { mkdir } from "node:fs/promises";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { ToolyardError, anonymous, createSealer, messageOf, type Caller, type Logger } from "@toolyard/service-kit";
import type { JSONWebKeySet } from "jose";
import { z } from "zod";
import { whereToListen } from "@toolyard/service-kit/process/listening-socket.ts";
import { clockHealth } from "@toolyard/service-kit/process/measured-clock.ts";
import { noRequestLog, type RequestLog } from "@toolyard/service-kit/http/request-log.ts";
import { createIdentityClient, createIdentityClock, createKeySet } from "@toolyard/identity-client";
import { createBusyReplicas } from "./routing/busy-replicas.ts";
import { createDemands } from "./routing/demand.ts";
import { createCalls } from "./calls/calls.ts";
import { createNewerRoutes } from "./calls/newer-routes.ts";
import type { ProxyConfig } from "./config.ts";
import { createControlPlane, proxyCaller } from "./control-plane/control-plane.ts";
import { createHttpDrain } from "@toolyard/service-kit/http/http-drain.ts";
import { createHostPolicy } from "@toolyard/service-kit/http/hosts.ts";
import { challengeOf, createProxyServer, type ProxyHealth } from "./http-server.ts";
import { createProxyMetrics } from "./metrics.ts";
import { createTokenBuckets, type TokenBuckets } from "@toolyard/rate-limits";
import type { RouteTable } from "@toolyard/routes";
import { createRoutes } from "./routing/routes.ts";
import { createRoutesFile } from "./routing/routes-file.ts";
import { createOffers } from "./control-plane/offers.ts";
import { createSharedAccess } from "./control-plane/shared-access.ts";
import { createStateFile } from "./control-plane/state-file.ts";
import { startUsageDelivery } from "./usage/usage-delivery.ts";
import { siteOf } from "./site.ts";
import { openUsageJournal } from "./usage/usage-journal.ts";

export interface Proxy {
  /** Listens once the routes are known, or after `ROUTES_WAIT_MS` without them. */
  listen(): Promise<{ port: number; url: string }>;
  health(): ProxyHealth;
  /** Drains for at most `drainMs`: running calls finish, long-lived streams are then ended, and usage is on disk. */
  close(options?: { drainMs?: number }): Promise<void>;
}

const ROUTES_WAIT_MS = 1_500;
/** Callers and tools whose calls are counted. */
const MAX_LIMITED = 20_000;
const DRAIN_MS = 30_000;
/** How long the last usage may take to reach the control plane; it is on disk in any case. */
const LAST_DELIVERY_MS = 2_000;

const keySetSchema: z.ZodType<JSONWebKeySet> = z.object({
  keys: z.array(z.looseObject({ kty: z.string(), kid: z.string() })),
});

/** The proxy without a process around it. */
export async function createProxy(options: {
  config: ProxyConfig;
  logger: Logger;
  /** The log with a line for each call; none unless given. */
  requestLog?: RequestLog;
  /** Aborts when no more calls are to be sent here: its health says so. */
  draining?: AbortSignal;
  now?: () => number;
  /** For tests: how usage is batched. */
  usageBatch?: { batchRecords?: number; batchMs?: number };
}): Promise<Proxy> {
  const { config, logger, requestLog = noRequestLog, now: own = Date.now, usageBatch } = options;
  const directory = join(config.dataDir, "proxy");
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const keysFile = createStateFile({ path: join(directory, "jwks.json"), schema: keySetSchema });
  const routes = createRoutes({
    allowPrivateRemotes: config.allowPrivateRemotes,
    demandOf: (deploymentId) => demands.of(deploymentId),
    logger,
    onLeft: (replica) => busy.left(replica),
    onDeploymentLeft: (deploymentId) => metrics.deploymentLeft(deploymentId),
    now: own,
  });
  const unwritten = (error: unknown) => logger.warn({ reason: messageOf(error) }, "the proxy's state was not written");
  const routesFile = createRoutesFile({
    path: join(directory, "routes.json"),
    // The credential is the one secret that a proxy has.
    sealer: createSealer({ secretKey: config.credential }),
    parts: () => routes.parts(),
    onError: unwritten,
  });

  const journal = await openUsageJournal({
    directory: join(directory, "usage"),
    maxBytes: config.spoolMaxBytes,
    ...usageBatch,
    onSealed: () => delivery.wake(),
    logger,
  });

  let live = false;
  const firstTable = Promise.withResolvers<void>();
  function useTable(table: RouteTable): void {
    const applied = routes.apply(table);
    routesFile.note(table, applied);
    if (applied === "NOTHING") return;
    newerRoutes.changed();
    live = true;
    firstTable.resolve();
  }

  const controlPlane = createControlPlane({
    gatewayUrl: config.gatewayUrl,
    credential: config.credential,
    onRoutes: useTable,
    routesPosition: () => routes.resume(),
    onConnected: () => {
      keys
        .refresh()
        .catch((error: unknown) => logger.warn({ reason: messageOf(error) }, "the keys were not refreshed"));
      delivery.wake();
    },
    logger,
  });
  const newerRoutes = createNewerRoutes({ routes, ask: () => controlPlane.fetchRoutesVersion(), logger });
  const clock = createIdentityClock({ graph: controlPlane.graph, as: proxyCaller, own });
  const { now } = clock;
  const delivery = startUsageDelivery({ journal, send: (batch) => controlPlane.recordUsage(batch), logger });
  const keys = createKeySet({
    fetchKeys: () => controlPlane.fetchKeys(),
    onChange: (found) => {
      identity.forgetTokens();
      keysFile.write(found).catch(unwritten);
    },
    now,
  });
  const metrics = createProxyMetrics({
    outstanding: () => routes.outstanding(),
    streams: () => calls.streams(),
    routes: () => routes.count(),
    refusedRoutes: () => controlPlane.refusedRoutes(),
    nameOf: (deploymentId) => routes.nameOf(deploymentId),
    connected: () => controlPlane.connected(),
    spool: () => journal.stats(),
  });
  const identity = createIdentityClient({
    graph: controlPlane.graph,
    as: proxyCaller,
    verifier: keys,
    count: metrics.caches.of("credentials"),
    logger,
    clock,
  });
  const shares = createSharedAccess({
    graph: controlPlane.graph,
    as: proxyCaller,
    onLost: (hasLost) => calls.endLost(hasLost),
    count: metrics.caches.of("shares"),
    logger,
    now,
  });
  identity.onRevoked((isConcerned) => calls.endStreams(isConcerned));
  /** Nobody is anonymous here. */
  function authenticate(authorization: string | undefined): Caller | Promise<Caller> {
    const caller = identity.authenticate(authorization);
    if (caller !== anonymous) return caller;
    throw new ToolyardError(
      "UNAUTHENTICATED",
      "Calling a tool takes a credential: send `Authorization: Bearer <access token or API key>`.",
    );
  }
  // The libraries are loaded only where they are used: they would take a good part of the start and of the memory.
  const tracing =
    config.tracing === null
      ? null
      : (await import("./tracing/call-tracing.ts")).createCallTracing({
          config: config.tracing,
          version: versionOfToolyard(),
          log: logger,
        });
  const busy = createBusyReplicas({
    // While the control plane is away, nobody probes, either.
    report: (replicaIds) => void controlPlane.reportBusy(replicaIds).catch(() => undefined),
    now,
  });
  const demands = createDemands({
    // While the control plane is away, nobody scales, either.
    report: (proxyId, loads) => void controlPlane.reportLoad(proxyId, loads).catch(() => undefined),
  });
  const offers = createOffers({
    fetch: (deploymentId, hash) => controlPlane.fetchOffer(deploymentId, hash),
    count: metrics.caches.of("offers"),
    logger,
  });
  const calls = createCalls({
    busy,
    offers,
    routes,
    newerRoutes,
    authenticate,
    mayInvoke: (caller, toolId) => shares.mayInvoke(caller, toolId),
    callerLimit: limitOf(config.callerCallsPerMinute),
    toolLimit: limitOf(config.toolCallsPerMinute),
    usage: journal,
    metrics: () => metrics,
    tracing,
    challenge: (head, { message }) => challengeOf(head, message),
    logger,
    requestLog,
    now,
  });

  let draining = false;
  options.draining?.addEventListener("abort", () => void (draining = true), { once: true });

  function health(): ProxyHealth {
    const known = routes.version() !== null;
    const spool = journal.stats();
    const [apart] = clockHealth(
      clock.aheadMs(),
      (difference) => `This host's clock is ${difference} identity's, by which credentials are judged.`,
    );
    const isWhole = controlPlane.connected() && spool.waiting === 0 && !apart;
    return {
      status: !known || draining ? "unhealthy" : isWhole ? "healthy" : "degraded",
      routes: { version: routes.version(), count: routes.count(), live },
      connected: controlPlane.connected(),
      calls: { running: calls.active() - calls.streams(), streams: calls.streams() },
      spool,
      ...(apart && { clock: apart.detail }),
    };
  }

  const server = createProxyServer({
    policy: createHostPolicy({ listenHost: config.host, origins: config.corsOrigins, hosts: config.allowedHosts }),
    calls,
    metrics,
    metricsToken: config.metricsToken,
    authenticate,
    health,
    site: siteOf(config.publicUrl),
    logger,
    requestLog,
  });
  const drain = createHttpDrain(server, options.draining);

  return {
    health,
    async listen() {
      for await (const table of routesFile.read()) routes.apply(table);
      const knownKeys = await keysFile.read();
      if (knownKeys) keys.use(knownKeys);
      controlPlane.start();
      identity.start();
      shares.start();
      const waiting = Promise.withResolvers<void>();
      const timer = setTimeout(waiting.resolve, ROUTES_WAIT_MS);
      await Promise.race([firstTable.promise, waiting.promise]);
      clearTimeout(timer);
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject).listen(whereToListen(config), () => {
          server.off("error", reject);
          resolve();
        });
      });
      // Listening on a host and port, not on a pipe.
      const { port, address, family } = server.address() as AddressInfo;
      return { port, url: `http://${family === "IPv6" ? `[${address}]` : address}:${port}` };
    },
    async close({ drainMs = DRAIN_MS } = {}) {
      draining = true;
      calls.drain();
      const ended = drain.end();
      await drain.leave();
      if (!(await calls.settled(drainMs))) {
        logger.warn({ running: calls.active() }, "calls were still running at the end of the drain and are cut off");
      }
      calls.abortAll();
      const forced = setTimeout(() => server.closeAllConnections(), 500);
      await ended;
      clearTimeout(forced);
      busy.close();
      await tracing?.close();
      demands.close();
      await journal.close();
      await delivery.drain(LAST_DELIVERY_MS);
      await delivery.close();
      await identity.close();
      await shares.close();
      await controlPlane.close();
      await routesFile.close();
      await routes.close();
      requestLog.flush();
    },
  };
}

function versionOfToolyard(): string {
  // Our own file, of npm's shape.
  return (createRequire(import.meta.url)("../../package.json") as { version: string }).version;
}

/** As many calls at once as a minute's worth. */
function limitOf(perMinute: number): TokenBuckets | null {
  return perMinute === 0 ? null : createTokenBuckets({ burst: perMinute, perMinute, maxKeys: MAX_LIMITED });
}
