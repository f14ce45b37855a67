import {
  baseUrl,
  flag,
  integer,
  list,
  logLevel,
  metricsToken,
  parseEnvironment,
  port,
  publicAddresses,
  refuseUnusedServers,
  type Environment,
} from "@toolyard/service-kit/process/config.ts";
import type { LogLevel } from "@toolyard/service-kit";
import { z } from "zod";

export interface ProxyConfig {
  host: string;
  port: number;
  /** The control plane's address, without a slash at its end. */
  gatewayUrl: string;
  /** A service principal's token with internal:routes, internal:usage, internal:introspect and internal:revocations. */
  credential: string;
  dataDir: string;
  /** How clients reach this proxy, where it is not what their Host header says; null: what it says. */
  publicUrl: string | null;
  /** Origins of browsers' pages that may call, beside loopback ones. */
  corsOrigins: string[];
  /** Names by which clients may address the proxy, beside loopback names, HOST and the CORS origins' hosts. */
  allowedHosts: string[];
  /** Calls a minute of one caller on one tool; 0: no bound. */
  callerCallsPerMinute: number;
  /** Calls a minute on one tool, of all callers; 0: no bound. */
  toolCallsPerMinute: number;
  /** What may wait on disk for the control plane; past it records are dropped and counted. */
  spoolMaxBytes: number;
  /** By which /metrics is read besides administrators' credentials; null: by those only. */
  metricsToken: string | null;
  /** Whether remote launches may lead to private addresses. */
  allowPrivateRemotes: boolean;
  logLevel: LogLevel;
  /** Whether each call has its line in the log. */
  logRequests: boolean;
}

const shape = {
  HOST: z.string().default("127.0.0.1").meta({ example: "127.0.0.1" }),
  PROXY_PORT: port(4100),
  GATEWAY_URL: baseUrl("http://127.0.0.1:4000").default("http://127.0.0.1:4000"),
  ...publicAddresses,
  PROXY_CREDENTIAL: z
    .string(
      "is needed: a service token by which the control plane trusts this proxy, which `node scripts/proxy-credential.ts` prints",
    )
    .regex(/^[\w-]+\.[\w-]+\.[\w-]+$/, "must be a service token (a JWT)")
    .meta({ example: "eyJ…" }),
  DATA_DIR: z.string().default("./data").meta({ example: "./data" }),
  CORS_ORIGINS: list([], "https://app.example.com,https://admin.example.com").refine(
    (origins) => origins.every((origin) => URL.canParse(origin) && new URL(origin).origin === origin),
    "must be origins separated by commas, each scheme and host without a path",
  ),
  ALLOWED_HOSTS: list([], "toolyard.example.com"),
  RATE_LIMIT_ENABLED: flag(true),
  RATE_LIMIT_CALLER_PER_MINUTE: integer({ fallback: 300_000, min: 0, max: 100_000_000 }),
  RATE_LIMIT_TOOL_PER_MINUTE: integer({ fallback: 1_200_000, min: 0, max: 100_000_000 }),
  PROXY_SPOOL_MAX_MIB: integer({ fallback: 256, min: 1, max: 1_000_000 }),
  ALLOW_PRIVATE_REMOTES: flag(false),
  METRICS_TOKEN: metricsToken,
  LOG_LEVEL: logLevel,
  LOG_REQUESTS: flag(true),
};

/** Reads the proxy's variables. @throws ConfigError naming what is wrong. */
export function parseProxyConfig(env: Environment): ProxyConfig {
  refuseUnusedServers(env);
  const values = parseEnvironment(shape, env);
  const { PUBLIC_URL, PROXY_URL = PUBLIC_URL } = values;
  return {
    host: values.HOST,
    port: values.PROXY_PORT,
    gatewayUrl: values.GATEWAY_URL,
    credential: values.PROXY_CREDENTIAL,
    dataDir: values.DATA_DIR,
    publicUrl: PROXY_URL ?? null,
    // The page at the gateway's public address is Toolyard's own.
    corsOrigins: [...values.CORS_ORIGINS, ...(PUBLIC_URL === undefined ? [] : [new URL(PUBLIC_URL).origin])],
    // What it is publicly called is among them.
    allowedHosts: [...values.ALLOWED_HOSTS, ...(PROXY_URL === undefined ? [] : [new URL(PROXY_URL).hostname])],
    callerCallsPerMinute: values.RATE_LIMIT_ENABLED ? values.RATE_LIMIT_CALLER_PER_MINUTE : 0,
    toolCallsPerMinute: values.RATE_LIMIT_ENABLED ? values.RATE_LIMIT_TOOL_PER_MINUTE : 0,
    spoolMaxBytes: values.PROXY_SPOOL_MAX_MIB * 1024 * 1024,
    allowPrivateRemotes: values.ALLOW_PRIVATE_REMOTES,
    metricsToken: values.METRICS_TOKEN ?? null,
    logLevel: values.LOG_LEVEL,
    logRequests: values.LOG_REQUESTS,
  };
}
