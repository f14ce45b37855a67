import { isIP } from "node:net";
import { RUNTIMES } from "@toolyard/runtimes/registry.ts";
import type { ConfiguredRuntime } from "@toolyard/runtimes/runtime-module.ts";
import { parseEnvironment, type Environment } from "@toolyard/service-kit";
import { integer, parseTogether } from "@toolyard/service-kit/process/config.ts";
import { gatewayUrl, parseProcessConfig, type ProcessConfig } from "@toolyard/service-kit/process/process-config.ts";
import { bareHost, isLoopback } from "@toolyard/service-kit/http/hosts.ts";
import { z } from "zod";
import type { PortRange } from "./engine/ports.ts";
import { hostSecretsOf } from "./logs/known-secrets.ts";

export interface DeploymentsConfig {
  /** Those of this host; the first that can run a launch is taken where nobody chooses. */
  runtimes: ConfiguredRuntime[];
  /** How long what ended replicas printed is kept. */
  logRetentionMs: number;
  /** Whether others than the operator can reach Toolyard, as far as this process can know. */
  reachable: boolean;
  portRange: PortRange;
  /** Null: kept in DATA_DIR, made at the first start. */
  hostId: string | null;
  /** Where this host's replicas listen and are reached. */
  advertiseHost: string;
  /** How long a host that is not heard from is waited for before its replicas are moved. */
  hostLeaseMs: number;
  /** Where clients call tools: the base of their URLs. */
  proxyUrl: string;
  allowPrivateRemotes: boolean;
  /** `keep-over-restart`: stopped where the supervisor of this process ends, too. */
  replicasOnExit: "stop" | "keep" | "keep-over-restart";
  /** Secrets in this process's environment, which are hidden in what replicas print. */
  hostSecrets: string[];
}

const available = Object.entries(RUNTIMES).flatMap(([name, { configure }]) => (configure ? { name, configure } : []));
/** Remote servers need no choice. */
const CHOICES = available.flatMap(({ name }) => (name === "remote" ? [] : name));

const shape = {
  MCP_DEPLOYMENT_BACKEND: z
    .string()
    .default("process")
    .transform((text, context) => {
      const names = [...new Set(text.split(",").map((name) => name.trim()))];
      if (names.every((name) => CHOICES.includes(name))) return names;
      context.addIssue(`must be one or more of ${CHOICES.join(", ")}, separated by commas`);
      return z.NEVER;
    })
    .meta({ example: "process,docker" }),
  MCP_PORT_RANGE: z
    .string()
    .default("8100-8200")
    .transform((text, context) => {
      const range = parseRange(text);
      if (range !== null && range.first >= 1_024 && range.first <= range.last && range.last <= 65_535) return range;
      context.addIssue("must be two ports from 1024 to 65535, the lower one first");
      return z.NEVER;
    })
    .meta({ example: "8100-8200" }),
  HOST_ID: z
    .string()
    .regex(/^[A-Za-z0-9-]{1,64}$/, "must be 1 to 64 of letters, digits and -")
    .optional()
    .meta({ example: "host-1" }),
  HOST_LEASE_SECONDS: integer({ fallback: 30, min: 5, max: 3_600 }),
  REPLICA_ADVERTISE_HOST: z
    .string()
    .default("127.0.0.1")
    .refine((host) => isIP(host) !== 0 || /^[A-Za-z0-9.-]+$/.test(host), "must be an IP address or a host name")
    .meta({ example: "127.0.0.1" }),
  REPLICAS_ON_EXIT: z.enum(["stop", "keep"], "must be stop or keep").optional().meta({ example: "keep" }),
  LOG_RETENTION_DAYS: integer({ fallback: 7, min: 0, max: 3_650 }),
  GATEWAY_URL: gatewayUrl,
};

/**
 * `replicasOnExit` is what REPLICAS_ON_EXIT is when it is not set: standalone stops them, a process of its own keeps them until its supervisor ends.
 * @throws ConfigError naming every wrong variable.
 */
export function parseDeploymentsConfig(
  env: Environment,
  options: { replicasOnExit?: DeploymentsConfig["replicasOnExit"]; process?: ProcessConfig } = {},
): DeploymentsConfig {
  const { replicasOnExit = "keep-over-restart", process = parseProcessConfig(env) } = options;
  const [parsed, ...configured] = parseTogether(
    () => parseEnvironment(shape, env),
    ...available.map(({ name, configure }) => () => ({ name, runtime: configure(env) })),
  );
  return {
    runtimes: [...parsed.MCP_DEPLOYMENT_BACKEND, "remote"].flatMap((chosen) =>
      configured.flatMap(({ name, runtime }) => (name === chosen ? runtime : [])),
    ),
    portRange: parsed.MCP_PORT_RANGE,
    hostId: parsed.HOST_ID ?? null,
    advertiseHost: parsed.REPLICA_ADVERTISE_HOST,
    hostLeaseMs: parsed.HOST_LEASE_SECONDS * 1_000,
    proxyUrl: process.proxyUrl ?? process.publicUrl ?? "http://127.0.0.1:4100",
    allowPrivateRemotes: process.allowPrivateRemotes,
    replicasOnExit: parsed.REPLICAS_ON_EXIT ?? replicasOnExit,
    reachable: isReachable(process, parsed.GATEWAY_URL),
    hostSecrets: hostSecretsOf(env),
    logRetentionMs: parsed.LOG_RETENTION_DAYS * 24 * 60 * 60 * 1_000,
  };
}

/** Any sign that it listens, or is published by a reverse proxy, beyond loopback: registration is open to those, too. */
function isReachable(process: ProcessConfig, gateway: string): boolean {
  const { host, publicUrl, proxyUrl, corsOrigins, allowedHosts, trustProxy } = process;
  const urls = [publicUrl, proxyUrl, gateway, ...corsOrigins];
  const published = urls.flatMap((url) => (url === null ? [] : bareHost(new URL(url).hostname)));
  const hosts = [host, ...published, ...allowedHosts];
  return trustProxy || hosts.some((name) => name !== "localhost" && !isLoopback(name));
}

function parseRange(text: string): PortRange | null {
  const [, first, last] = /^(\d{1,5})-(\d{1,5})$/.exec(text.trim()) ?? [];
  return first === undefined || last === undefined ? null : { first: Number(first), last: Number(last) };
}
