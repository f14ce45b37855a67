import { integer, parseEnvironment, parseTogether, type Environment } from "@toolyard/service-kit/process/config.ts";
import {
  drainSeconds,
  gatewayUrl,
  parseProcessConfig,
  proxyPort,
  type ProcessConfig,
} from "@toolyard/service-kit/process/process-config.ts";
import { parseTracing, type TracingConfig } from "@toolyard/service-kit/tracing/tracing-config.ts";
import { z } from "zod";

/** `publicUrl` is the URL at which clients reach the proxy. */
export interface ProxyConfig extends ProcessConfig {
  port: number;
  /** The control plane's address, without a trailing slash. */
  gatewayUrl: string;
  /** A service principal's token with the permissions of `PROXY_PERMISSIONS`. */
  credential: string;
  /** Calls a minute of one caller on one tool; 0: no bound. */
  callerCallsPerMinute: number;
  /** Calls a minute on one tool, of all callers; 0: no bound. */
  toolCallsPerMinute: number;
  /** How long it goes on serving after SIGTERM, while it says that it is not healthy. */
  drainMs: number;
  /** Bytes that may wait on disk for the control plane; beyond that, records are dropped and counted. */
  spoolMaxBytes: number;
  /** Where calls are recorded as spans; null: nowhere. */
  tracing: TracingConfig | null;
}

const SERVICE_NAME = "toolyard-proxy";

/** The variables that the proxy reads besides those of every process. */
export const proxyVariables = {
  PROXY_PORT: proxyPort,
  GATEWAY_URL: gatewayUrl,
  PROXY_CREDENTIAL: z
    .string(
      "is needed: a service token by which the control plane trusts this proxy, which `npm run --silent proxy-credential` prints",
    )
    .regex(/^[\w-]+\.[\w-]+\.[\w-]+$/, "must be a service token (a JWT)")
    .meta({ secret: true, example: "eyJ…" }),
  RATE_LIMIT_CALLER_PER_MINUTE: integer({ fallback: 300_000, min: 0, max: 100_000_000 }),
  RATE_LIMIT_TOOL_PER_MINUTE: integer({ fallback: 1_200_000, min: 0, max: 100_000_000 }),
  DRAIN_SECONDS: drainSeconds,
  PROXY_SPOOL_MAX_MIB: integer({ fallback: 256, min: 1, max: 1_000_000 }),
};

/** Reads the proxy's variables. @throws ConfigError naming what is wrong. */
export function parseProxyConfig(env: Environment): ProxyConfig {
  const [process, values, tracing] = parseTogether(
    () => parseProcessConfig(env, { usesServers: false }),
    () => parseEnvironment(proxyVariables, env),
    () => parseTracing(env, SERVICE_NAME),
  );
  const publicUrl = process.proxyUrl ?? process.publicUrl;
  return {
    ...process,
    port: values.PROXY_PORT,
    gatewayUrl: values.GATEWAY_URL,
    credential: values.PROXY_CREDENTIAL,
    publicUrl,
    // Its public name is among them.
    allowedHosts: [...process.allowedHosts, ...(publicUrl === null ? [] : [new URL(publicUrl).hostname])],
    callerCallsPerMinute: process.rateLimits ? values.RATE_LIMIT_CALLER_PER_MINUTE : 0,
    toolCallsPerMinute: process.rateLimits ? values.RATE_LIMIT_TOOL_PER_MINUTE : 0,
    drainMs: values.DRAIN_SECONDS * 1_000,
    tracing,
    spoolMaxBytes: values.PROXY_SPOOL_MAX_MIB * 1024 * 1024,
  };
}
