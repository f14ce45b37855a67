/** Every part as a process of its own on this machine, on the servers of DATABASE_URL, REDIS_URL and MONGODB_URL: what `npm run start:distributed` runs. */
import { once } from "node:events";
import { join, resolve } from "node:path";
import { parseGatewayConfig, urlHost } from "@toolyard/gateway/config.ts";
import {
  ConfigError,
  PROXY_PERMISSIONS,
  createLogger,
  createTokenSigner,
  createUserCaller,
  logLifetime,
  prepareDataDir,
  requirePort,
  runProcess,
} from "@toolyard/service-kit";
import { createHttpGraphClient, signedBy } from "@toolyard/service-kit/graph/http-graph-client.ts";
import { parseEnvironment, parseTogether } from "@toolyard/service-kit/process/config.ts";
import { holdSockets } from "@toolyard/service-kit/process/held-sockets.ts";
import {
  parseProcessConfig,
  parseSecretKeys,
  type ProcessConfig,
} from "@toolyard/service-kit/process/process-config.ts";
import { lockFolder, openStore, requireSameKey } from "@toolyard/storage";
import { parseAnalysisConfig } from "@toolyard/subgraph-analysis/config.ts";
import { parseDeploymentsConfig } from "@toolyard/subgraph-deployments/config.ts";
import type { FirstAdministrator } from "@toolyard/subgraph-identity";
import { parseIdentityConfig } from "@toolyard/subgraph-identity/config.ts";
import { parseToolsConfig } from "@toolyard/subgraph-tools/config.ts";
import { readStores } from "../scripts/store-schemas.ts";
import { renderBanner } from "../standalone/banner.ts";
import { parseOwnVariables } from "../standalone/own-variables.ts";
import { installSample } from "../standalone/sample.ts";
import { superviseProcess, type SupervisedProcess } from "../standalone/supervised-process.ts";
import { namedLine } from "./part-log.ts";
import { partsVariables, planParts, type Part } from "./parts.ts";

const root = join(import.meta.dirname, "..");
/** Long enough for its supervisor to outlive it; rotated with SECRET_KEY. */
const PROXY_CREDENTIAL_SECONDS = 365 * 24 * 60 * 60;
/** A part ends by itself before that. */
const GRACE_MS = 45_000;

await runProcess(
  async (lifetime) => {
    const [settings, readSecretKeys, own, counts] = parseTogether(
      () => withServers(parseProcessConfig(process.env)),
      () => parseSecretKeys(process.env),
      () => parseOwnVariables(process.env),
      () => parseEnvironment(partsVariables, process.env),
    );
    // Here, so that it is said once.
    const [config, identity] = parseTogether(
      () => parseGatewayConfig(process.env, { process: settings }),
      () => parseIdentityConfig(process.env, { process: settings }),
      () => parseToolsConfig(process.env),
      () => parseAnalysisConfig(process.env),
      () => parseDeploymentsConfig(process.env, { process: settings }),
    );
    const dataDir = resolve(config.dataDir);
    const logger = createLogger({ level: config.logLevel, name: "supervisor" });
    logLifetime(lifetime, logger, process.env);
    await prepareDataDir(dataDir, logger);
    // Where another Toolyard has it, this says so at once; it is the deployments part that holds it.
    const lock = await lockFolder(dataDir);
    lock.release();
    const secretKeys = await readSecretKeys(dataDir);
    await requireSameKey({ ...settings, logger }, secretKeys);
    const [secretKey, ...previousSecretKeys] = secretKeys;
    const signer = createTokenSigner({ secretKey, previousSecretKeys });
    const parts = planParts({
      env: process.env,
      root,
      dataDir,
      config,
      counts,
      proxyMaxHeapMb: own.PROXY_MAX_HEAP_MB,
      proxyCredential: await signer.serviceToken("proxy", PROXY_PERMISSIONS, PROXY_CREDENTIAL_SECONDS),
    });
    const all = Object.values(parts).flat();
    const ports = all.map(({ port }) => port);
    for (const { variable, host, port } of all) await requirePort(variable, host, port, ports);
    // Before any part or replica exists, so that no replica ever has the port of a part.
    const sockets = await holdSockets(all.map(({ host, port }) => ({ host, port })));
    const socketOf = new Map(all.map((part, n) => [part, sockets[n]]));
    await migrate(settings, dataDir);

    /** @returns what they tell when they serve, in the order of the parts; the last started are the first stopped */
    const start = async (started: readonly Part[]): Promise<object[]> => {
      const running = started.map((part): SupervisedProcess<object> => {
        const print = (line: string) => void process.stdout.write(`${namedLine(part.name, line)}\n`);
        return superviseProcess({
          ...part,
          socket: socketOf.get(part),
          name: `the part "${part.name}"`,
          print,
          logger,
        });
      });
      lifetime.onShutdown(started.map(({ name }) => name).join(", "), async () => {
        await Promise.all(running.map((each) => each.stop(GRACE_MS)));
      });
      const ready = Promise.all(running.map((each) => each.ready));
      return (await Promise.race([ready, aborted(lifetime.signal)])) ?? [];
    };

    const facts = await start(parts.subgraphs);
    if (!lifetime.signal.aborted) await start([...parts.workers, ...parts.gateways]);
    if (!lifetime.signal.aborted) await start(parts.proxies);
    if (lifetime.signal.aborted) return;

    const administrator = factsOf<FirstAdministrator>(parts.subgraphs, facts, "identity");
    const { notes } = factsOf<{ notes: string[] }>(parts.subgraphs, facts, "deployments");
    const urlOf = ({ host, port }: Part) => `http://${urlHost(host)}:${port}`;
    const [gatewayUrl = "", ...otherGateways] = parts.gateways.map(urlOf);
    const [, ...otherProxies] = parts.proxies.map(urlOf);
    const graph = createHttpGraphClient({ gatewayUrl, headersOf: signedBy(signer) });
    const sample =
      own.SAMPLE && administrator.userId !== null
        ? await installSample({ graph, as: createUserCaller(administrator.userId, "ADMIN") })
        : false;
    await graph.close();
    lock.announce(gatewayUrl, lifetime.signal);
    process.stdout.write(
      renderBanner({
        gatewayUrl: config.publicUrl ?? gatewayUrl,
        proxyUrl: config.proxyUrl,
        behind: config.publicUrl === null ? null : { gatewayUrl, proxyUrl: config.localProxyAddress },
        extra: {
          ...(otherGateways.length > 0 && { Gateways: `also at ${otherGateways.join(", ")}` }),
          ...(otherProxies.length > 0 && { Proxies: `also at ${otherProxies.join(", ")}` }),
          Parts: [...parts.subgraphs, ...parts.workers].map(({ name, port }) => `${name} :${port}`).join(", "),
        },
        introspection: config.introspection,
        dataDir,
        servers: ["MySQL", ...(settings.mongodb ? ["MongoDB"] : [])],
        administrator,
        isDefaultDataDir: dataDir === join(root, "data"),
        sample,
        registration: { open: identity.registration === "open", role: identity.registrationRole },
        notes: [
          ...administrator.notes,
          ...notes,
          ...(settings.mongodb ? [] : ["MONGODB_URL is not set: documents are in DATA_DIR, on this machine alone."]),
        ],
      }),
    );
  },
  { shutdownSeconds: 150 },
);

/** @throws ConfigError that names what is missing */
function withServers(settings: ProcessConfig): ProcessConfig {
  const needed = {
    DATABASE_URL: [settings.database, "mysql://toolyard:password@127.0.0.1:3306/toolyard"],
    REDIS_URL: [settings.redis, "redis://127.0.0.1:6379"],
  } as const;
  const missing = Object.entries(needed).flatMap(([name, [server, example]]) =>
    server ? [] : [`${name}: the parts as processes of their own need it. Example: ${name}=${example}`],
  );
  if (missing.length > 0)
    throw new ConfigError([...missing, "MONGODB_URL may be left out: documents are in DATA_DIR then."].join("\n"));
  return settings;
}

/** Once, before the parts would all do it. */
async function migrate({ database }: ProcessConfig, dataDir: string): Promise<void> {
  for (const { mysqlMigrations, ...tables } of await readStores(root))
    if (mysqlMigrations) await (await openStore({ dataDir, database }, tables)).close();
}

/** A part's facts, as it has told them when it was ready: their shape is its main.ts's. */
function factsOf<Facts extends object>(parts: readonly Part[], facts: readonly object[], name: string): Facts {
  return facts[parts.findIndex((part) => part.name === name)] as Facts;
}

async function aborted(signal: AbortSignal): Promise<undefined> {
  if (!signal.aborted) await once(signal, "abort");
}
