import { isIP } from "node:net";
import { DEFAULT_REPLICA_ENV } from "@toolyard/runtimes/process/replica-environment.ts";
import { parseEnvironment, type Environment } from "@toolyard/service-kit";
import { flag, httpUrl, list } from "@toolyard/service-kit/config.ts";
import { z } from "zod";
import type { PortRange } from "./engine/ports.ts";
import { hostSecretsOf } from "./known-secrets.ts";

export interface DeploymentsConfig {
  backend: "process" | "mock";
  portRange: PortRange;
  /** Null: kept in DATA_DIR, made at the first start. */
  hostId: string | null;
  /** Where this host's replicas listen and are reached. */
  advertiseHost: string;
  /** Base of public URLs. */
  proxyUrl: string;
  allowPrivateRemotes: boolean;
  replicasOnExit: "stop" | "keep";
  isolation: "auto" | "bubblewrap" | "none";
  replicaEnv: string[];
  /** Secrets in this process's environment, which are hidden in what replicas print. */
  hostSecrets: string[];
}

const BACKENDS = ["process", "mock", "docker", "kubernetes"] as const;

const shape = {
  MCP_DEPLOYMENT_BACKEND: z
    .enum(BACKENDS, `must be one of ${BACKENDS.join(", ")}`)
    .default("process")
    .transform((backend, context) => {
      if (backend === "process" || backend === "mock") return backend;
      context.addIssue("is not part of this version of Toolyard: replicas run as processes");
      return z.NEVER;
    })
    .meta({ example: "process" }),
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
  REPLICA_ADVERTISE_HOST: z
    .string()
    .default("127.0.0.1")
    .refine((host) => isIP(host) !== 0 || /^[A-Za-z0-9.-]+$/.test(host), "must be an IP address or a host name")
    .meta({ example: "127.0.0.1" }),
  PROXY_URL: httpUrl("http://127.0.0.1:4100").default("http://127.0.0.1:4100"),
  ALLOW_PRIVATE_REMOTES: flag(false),
  REPLICAS_ON_EXIT: z.enum(["stop", "keep"], "must be stop or keep").optional().meta({ example: "keep" }),
  PROCESS_ISOLATION: z
    .enum(["auto", "bubblewrap", "none"], "must be auto, bubblewrap or none")
    .default("auto")
    .meta({ example: "auto" }),
  REPLICA_ENV: list(DEFAULT_REPLICA_ENV, "HTTPS_PROXY,NPM_CONFIG_REGISTRY"),
};

/**
 * `replicasOnExit` is what REPLICAS_ON_EXIT is when it is not set: standalone stops them, a process of its own keeps them.
 * @throws ConfigError naming every wrong variable.
 */
export function parseDeploymentsConfig(
  env: Environment,
  defaults: Pick<DeploymentsConfig, "replicasOnExit"> = { replicasOnExit: "keep" },
): DeploymentsConfig {
  const parsed = parseEnvironment(shape, env);
  return {
    backend: parsed.MCP_DEPLOYMENT_BACKEND,
    portRange: parsed.MCP_PORT_RANGE,
    hostId: parsed.HOST_ID ?? null,
    advertiseHost: parsed.REPLICA_ADVERTISE_HOST,
    proxyUrl: parsed.PROXY_URL,
    allowPrivateRemotes: parsed.ALLOW_PRIVATE_REMOTES,
    replicasOnExit: parsed.REPLICAS_ON_EXIT ?? defaults.replicasOnExit,
    isolation: parsed.PROCESS_ISOLATION,
    replicaEnv: parsed.REPLICA_ENV,
    hostSecrets: hostSecretsOf(env),
  };
}

function parseRange(text: string): PortRange | null {
  const [, first, last] = /^(\d{1,5})-(\d{1,5})$/.exec(text.trim()) ?? [];
  return first === undefined || last === undefined ? null : { first: Number(first), last: Number(last) };
}
