import { join } from "node:path";
import { urlHost, type GatewayConfig } from "@toolyard/gateway/config.ts";
import { ConfigError, type Environment } from "@toolyard/service-kit";
import { integer, port } from "@toolyard/service-kit/process/config.ts";
import { environmentOf, type PartKind } from "@toolyard/service-kit/process/part-secrets.ts";
import { proxyEnvironment } from "../standalone/proxy-environment.ts";
import { PROXY_ALLOCATOR, proxyHeapFlags } from "../standalone/supervised-process.ts";

const SUBGRAPHS = ["identity", "tools", "knowledge", "analysis", "deployments"] as const;
/** Of parts that are asked by this machine's processes alone. */
const LOOPBACK = "127.0.0.1";

const instances = integer({ fallback: 1, min: 1, max: 32 });
export const partsVariables = {
  GATEWAYS: instances,
  PROXIES: instances,
  WORKERS: instances,
  PARTS_PORT: port(4201),
  MAX_HEAP_MB: integer({ fallback: 1_536, min: 128, max: 65_536 }),
};

/** A process of the installation. */
export interface Part {
  /** In its log. */
  name: string;
  /** Its main.ts. */
  entry: string;
  flags: string[];
  env: Record<string, string>;
  host: string;
  port: number;
  /** The variable that `port` comes from. */
  variable: string;
}

export interface Parts {
  subgraphs: Part[];
  gateways: Part[];
  workers: Part[];
  proxies: Part[];
}

/**
 * All processes of an installation on this machine: of the gateways and proxies each has the port after the one before it, subgraphs and workers
 * those from PARTS_PORT on. A gateway passes calls to the proxy of its number, a proxy asks the gateway of its own.
 * @throws ConfigError where two of them would have one port
 */
export function planParts(options: {
  env: Environment;
  root: string;
  dataDir: string;
  config: GatewayConfig;
  counts: { GATEWAYS: number; PROXIES: number; WORKERS: number; PARTS_PORT: number; MAX_HEAP_MB: number };
  proxyMaxHeapMb: number;
  proxyCredential: string;
}): Parts {
  const { env, root, dataDir, config, counts, proxyMaxHeapMb, proxyCredential } = options;
  const given = definedIn(env);
  const flags = ["--max-semi-space-size=8", `--max-old-space-size=${counts.MAX_HEAP_MB}`];
  const gatewayPort = (n: number) => config.port + (n % counts.GATEWAYS);
  const proxyPort = (n: number) => config.proxyPort + (n % counts.PROXIES);
  const urlOf = (port: number, host = config.host) => `http://${urlHost(host)}:${port}`;
  const gatewayUrl = (n: number) => given["GATEWAY_URL"] ?? urlOf(gatewayPort(n));
  const common = (kind: PartKind) => ({
    ...definedIn(environmentOf(kind, env)),
    DATA_DIR: dataDir,
    RUN_TASKS: "false",
    DRAIN_SECONDS: "0",
    // Types are stripped once, and not by each process at each start.
    NODE_COMPILE_CACHE: given["NODE_COMPILE_CACHE"] ?? join(root, "node_modules", ".cache", "toolyard"),
  });
  let nextPort = counts.PARTS_PORT;
  const inner = (kind: PartKind, name: string, entry: string): Part => {
    const own = nextPort++;
    const env = {
      ...common(kind),
      HOST: LOOPBACK,
      PORT: String(own),
      GATEWAY_URL: gatewayUrl(0),
      PROXY_URL: config.proxyUrl,
      // Replicas are as reachable as the gateway at HOST, and isolated accordingly.
      ALLOWED_HOSTS: [...config.allowedHosts, config.host].join(","),
    };
    return { name, entry: join(root, entry), flags, env, host: LOOPBACK, port: own, variable: "PARTS_PORT" };
  };
  const subgraphs = SUBGRAPHS.map((name) => inner(name, name, `subgraphs/${name}/main.ts`));
  const workers = several("worker", counts.WORKERS, (name) => inner("worker", name, "worker/main.ts"));
  const gateways = several("gateway", counts.GATEWAYS, (name, n) => {
    const env = {
      ...common("gateway"),
      PORT: String(gatewayPort(n)),
      PROXY_PORT: String(proxyPort(n)),
      SUBGRAPH_URLS: subgraphs.map((each) => `${each.name}=${urlOf(each.port, LOOPBACK)}/graphql`).join(","),
    };
    const entry = join(root, "gateway/main.ts");
    return { name, entry, flags, env, host: config.host, port: gatewayPort(n), variable: "PORT" };
  });
  const proxies = several("proxy", counts.PROXIES, (name, n) => {
    const env = {
      ...proxyEnvironment(given),
      ...PROXY_ALLOCATOR,
      DRAIN_SECONDS: "0",
      HOST: config.host,
      PROXY_PORT: String(proxyPort(n)),
      // Each has routes and usage of its own on disk.
      DATA_DIR: n === 0 ? dataDir : join(dataDir, name),
      GATEWAY_URL: gatewayUrl(n),
      PROXY_CREDENTIAL: proxyCredential,
    };
    const entry = join(root, "packages/proxy/start.mjs");
    const heap = proxyHeapFlags(proxyMaxHeapMb);
    return { name, entry, flags: heap, env, host: config.host, port: proxyPort(n), variable: "PROXY_PORT" };
  });
  const parts = { subgraphs, gateways, workers, proxies };
  requireOwnPorts(Object.values(parts).flat());
  return parts;
}

function definedIn(env: Environment): Record<string, string> {
  return Object.fromEntries(Object.entries(env).flatMap(([name, value]) => (value ? [[name, value]] : [])));
}

function several(kind: string, count: number, make: (name: string, n: number) => Part): Part[] {
  return Array.from({ length: count }, (_, n) => make(count === 1 ? kind : `${kind}-${n + 1}`, n));
}

function requireOwnPorts(parts: readonly Part[]): void {
  const taken = new Map<number, Part>();
  for (const part of parts) {
    const other = taken.get(part.port);
    if (other)
      throw new ConfigError(
        `${part.variable}: ${part.name} would listen on port ${part.port}, as ${other.name} does (${other.variable}). Choose another.`,
      );
    if (part.port === 0 || part.port > 65_535)
      throw new ConfigError(`${part.variable}: ${part.name} would listen on port ${part.port}. Choose another.`);
    taken.set(part.port, part);
  }
}
