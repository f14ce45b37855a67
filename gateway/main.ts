/**
 * The gateway alone, subgraphs over HTTP at the supergraph's URLs or at SUBGRAPH_URLS: Toolyard's own graph, or with
 * `--supergraph FILE` any Federation 2 supergraph, or with `--supergraph-config FILE` one composed here, with no other part of Toolyard.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { openSqlIdempotencyStore } from "@toolyard/idempotency";
import { createSharedClock, openStore, requireSameKey } from "@toolyard/storage";
import { sharedTokenBuckets } from "@toolyard/rate-limits";
import { openRedis } from "@toolyard/redis";
import {
  CALLER_HEADER,
  ConfigError,
  createLogger,
  createServiceCaller,
  createTokenSigner,
  logLifetime,
  prepareDataDir,
  requirePort,
  runProcess,
  type ProcessLifetime,
  type ServiceHealth,
} from "@toolyard/service-kit";
import { createRequestLog } from "@toolyard/service-kit/http/request-log.ts";
import { inheritSocket } from "@toolyard/service-kit/process/listening-socket.ts";
import { followSupervisor } from "@toolyard/service-kit/process/supervision.ts";
import { parseSecretKeys } from "@toolyard/service-kit/process/process-config.ts";
import { askedText, parseCommandLine } from "./command-line.ts";
import { createComposedSupergraph } from "./supergraph/composed-supergraph.ts";
import { parseGatewayConfig } from "./config.ts";
import { createCallerHeaders } from "./execution/clients/caller-headers.ts";
import { createHttpClient } from "./execution/clients/http-client.ts";
import { parseSupergraph } from "./execution/schema/supergraph.ts";
import { createGateway } from "./gateway.ts";
import { checkGraphql, checkHttp, checkRemoteSubgraph, reachSubgraphs } from "./observability/health.ts";
import { createAnonymousAuthenticator, createJwksAuthenticator } from "./identity/jwks-authentication.ts";
import { IDENTITY_SUBGRAPH } from "./identity/toolyard-identity.ts";
import { readGauges } from "./observability/remote-gauges.ts";
import { createSupergraphFile } from "./supergraph/supergraph-file.ts";
import { createTelemetry } from "./observability/telemetry.ts";

// @apollo/gateway would report to Apollo, and ask the clouds that it knows whether it runs there, unless the operator enables that.
process.env.APOLLO_TELEMETRY_DISABLED ??= "true";

// The file of this package, which has a version.
const { version } = JSON.parse(readFileSync(join(import.meta.dirname, "package.json"), "utf8")) as { version: string };
const asked = askedText(process.argv.slice(2), version);
if (asked === null) await runProcess(serve);
else process.stdout.write(asked);

async function serve(lifetime: ProcessLifetime): Promise<void> {
  const given = parseCommandLine(process.argv.slice(2), process.env);
  const isAlone = given !== null;
  const config = parseGatewayConfig(process.env, { isAlone });
  const readSecretKeys = parseSecretKeys(process.env);
  const logger = createLogger({ level: config.logLevel, name: "gateway" });
  logLifetime(lifetime, logger, process.env);
  const supervision = followSupervisor(lifetime);
  const { file } = given ?? { file: join(import.meta.dirname, "..", "schema", "supergraph.graphql") };
  const { schemaPollIntervalMs: pollIntervalMs } = config;
  const source =
    given?.kind === "config"
      ? createComposedSupergraph({ file, env: process.env, log: logger, pollIntervalMs })
      : createSupergraphFile({ file, log: logger });
  const supergraphSdl = await source.load(lifetime.signal);
  const urlOf = (name: string, url: string): string => {
    // URLs in Toolyard's own supergraph are placeholders: each installation has its own.
    const chosen = config.subgraphUrls[name] ?? (given === null ? "" : url);
    if (/^https?:/.test(chosen) && URL.canParse(chosen)) return chosen;
    throw new ConfigError(
      `The supergraph has no usable URL for its subgraph "${name}"${chosen === "" ? "" : ` (it is ${JSON.stringify(chosen)})`}. Example: SUBGRAPH_URLS=${name}=http://127.0.0.1:4001/graphql`,
    );
  };
  const httpOf = (name: string, url: string) => ({
    name,
    url: urlOf(name, url),
    subscriptions: config.sseSubgraphs.includes(name) ? ("sse" as const) : ("graphql-ws" as const),
  });
  const subgraphsOf = (sdl: string) =>
    [...parseSupergraph(sdl).subgraphUrls].map(([name, url]) => ({ name, url: urlOf(name, url) }));
  if (given === null) requireAddresses([...parseSupergraph(supergraphSdl).subgraphUrls.keys()], config.subgraphUrls);
  inheritSocket(process.env);
  await requirePort("PORT", config.host, config.port);
  let subgraphs = subgraphsOf(supergraphSdl);
  /** Asks the subgraphs that are in the supergraph now. */
  const checkAll = (check: (subgraph: { name: string; url: string }) => Promise<ServiceHealth[]>) => async () =>
    (await Promise.all(subgraphs.map(check))).flat();
  for (const [variable, names] of [
    ["SUBGRAPH_URLS", Object.keys(config.subgraphUrls)],
    ["SSE_SUBGRAPHS", config.sseSubgraphs],
  ] as const) {
    const unknown = names.filter((name) => !subgraphs.some((subgraph) => subgraph.name === name));
    // Not refused: a supergraph that is still to come may have it.
    if (unknown.length > 0)
      logger.warn(
        { unknown, subgraphs: subgraphs.map(({ name }) => name) },
        `${variable} names something that is not a subgraph`,
      );
  }
  const telemetry = await createTelemetry({ config: config.telemetry, log: logger });
  const requestLog = createRequestLog({ enabled: config.logRequests, level: config.logLevel, name: "gateway" });
  lifetime.drainFor(config.drainMs);
  const common = { config, supergraphSdl, telemetry, logger, requestLog, draining: lifetime.draining };

  async function createAlone() {
    const { jwt } = config;
    return createGateway({
      ...common,
      createClient: (name, url) => createHttpClient({ ...httpOf(name, url), headersFor: () => ({}) }),
      subgraphsKnowCallers: false,
      authenticator: jwt ? createJwksAuthenticator(jwt) : createAnonymousAuthenticator(),
      healthChecks: [checkAll(checkForeign)],
      gauges: () => [],
    });
  }

  async function createOfToolyard() {
    await prepareDataDir(config.dataDir, logger);
    const redis = config.redis && openRedis({ settings: config.redis, name: "gateway", logger });
    if (redis) lifetime.onShutdown("Redis", () => redis.close());
    const secretKeys = await readSecretKeys(config.dataDir);
    await requireSameKey({ ...config, logger }, secretKeys);
    const [secretKey, ...previousSecretKeys] = secretKeys;
    const clock = createSharedClock();
    lifetime.onShutdown("clock", () => clock.close());
    const idempotencyStore = await openSqlIdempotencyStore(async (tables) => {
      const database = await openStore({ ...config, logger }, tables);
      await clock.follow(database);
      return database;
    });
    const signer = createTokenSigner({ secretKey, previousSecretKeys, now: clock.now });
    /** One for each subgraph: a header sent to one is worth nothing at another. */
    const headersFor = (subgraph: string) =>
      createCallerHeaders({
        name: CALLER_HEADER,
        sign: (caller, about) => signer.callerHeader(caller, subgraph, about),
      });
    const self = createServiceCaller("gateway", ["internal:metrics"]);
    const gaugesOf = async ({ name, url }: Address) =>
      readGauges({ graphqlUrl: url, headers: { [CALLER_HEADER]: await signer.callerHeader(self, name) } });
    return createGateway({
      ...common,
      createClient: (name, url) => createHttpClient({ ...httpOf(name, url), headersFor: headersFor(name) }),
      secretKeys,
      idempotencyStore,
      now: clock.now,
      ...(redis && { createTokenBuckets: sharedTokenBuckets(redis) }),
      proxyAddress: config.proxyAddress,
      gauges: () => [...subgraphs.map(gaugesOf), ...(redis ? [Promise.resolve(redis.gauges())] : [])],
      healthChecks: [
        checkAll(checkOwn),
        () => checkHttp("proxy", `${config.proxyAddress}/healthz`, "PROXY_URL or PROXY_PORT"),
        async () => clock.health(),
        ...(redis ? [async () => [await redis.health()]] : []),
      ],
    });
  }

  const gateway = isAlone ? await createAlone() : await createOfToolyard();
  lifetime.onShutdown("gateway", () => gateway.close());
  const watcher = source.watch(async (changed) => {
    await gateway.replaceSupergraph(changed);
    subgraphs = subgraphsOf(changed);
  });
  lifetime.onShutdown("supergraph", () => watcher.close());
  const { url } = await gateway.listen();
  const checkSubgraphs = checkAll(isAlone ? checkForeign : checkOwn);
  if (await reachSubgraphs({ check: checkSubgraphs, logger, signal: lifetime.signal })) {
    supervision.ready();
    logger.info({ url }, "the gateway is ready");
  }
}

type Address = { name: string; url: string };
function checkForeign({ name, url }: Address) {
  return checkGraphql(name, url);
}
function checkOwn({ name, url }: Address) {
  // Without identity all callers are anonymous.
  const essential = name === IDENTITY_SUBGRAPH;
  return checkRemoteSubgraph(name, new URL("/health", url).href, "SUBGRAPH_URLS", { essential });
}

function requireAddresses(names: readonly string[], given: Record<string, string>): void {
  const missing = names.filter((name) => given[name] === undefined);
  if (missing.length === 0) return;
  throw new ConfigError(
    `SUBGRAPH_URLS: a gateway that runs alone needs the URL of each of Toolyard's subgraphs; missing: ${missing.join(", ")}. Example: SUBGRAPH_URLS=${missing[0]}=http://127.0.0.1:PORT/graphql,…`,
  );
}
