import { httpUrl, flag, list, logLevel, parseEnvironment, port, secretKey } from "@toolyard/service-kit/config.ts";
import type { Environment, LogLevel } from "@toolyard/service-kit";
import { z } from "zod";

export interface GatewayConfig {
  host: string;
  port: number;
  dataDir: string;
  secretKey: string | null;
  previousSecretKeys: string[];
  /** Origins of browsers' pages that may call, beside loopback ones; `https://studio.apollographql.com` while introspection is on. */
  corsOrigins: string[];
  /** Names by which clients may address the gateway, beside loopback names and the CORS origins' hosts. */
  allowedHosts: string[];
  introspection: boolean;
  proxyUrl: string;
  proxyPort: number;
  /** URLs of subgraphs that run on their own, by name; the supergraph's where left out. */
  subgraphUrls: Record<string, string>;
  logLevel: LogLevel;
}

const shape = {
  HOST: z.string().default("127.0.0.1").meta({ example: "127.0.0.1" }),
  PORT: port(4000),
  PROXY_PORT: port(4100),
  PROXY_URL: httpUrl("http://127.0.0.1:4100").optional(),
  DATA_DIR: z.string().default("./data").meta({ example: "./data" }),
  SECRET_KEY: secretKey.optional(),
  SECRET_KEY_PREVIOUS: list([], "an earlier SECRET_KEY"),
  CORS_ORIGINS: list([], "https://app.example.com,https://admin.example.com").refine(
    (origins) => origins.every((origin) => URL.canParse(origin) && new URL(origin).origin === origin),
    "must be origins separated by commas, each scheme and host without a path",
  ),
  ALLOWED_HOSTS: list([], "toolyard.example.com"),
  INTROSPECTION: flag(true),
  SUBGRAPH_URLS: list([], "tools=http://10.0.0.2:4002/graphql").refine(
    (entries) => entries.every((entry) => /^[a-z]+=https?:\/\/.+/.test(entry)),
    "must be name=URL pairs separated by commas",
  ),
  LOG_LEVEL: logLevel,
  DATABASE_URL: notYet("DATABASE_URL", "MySQL"),
  MONGODB_URL: notYet("MONGODB_URL", "MongoDB"),
  REDIS_URL: notYet("REDIS_URL", "Redis"),
};

/** A server that this version does not use: refused, rather than silently keeping data elsewhere than the operator thinks. */
function notYet(name: string, server: string) {
  return z
    .undefined(
      `this version of Toolyard keeps its data in SQLite files in DATA_DIR and does not use ${server}. Remove ${name}`,
    )
    .optional();
}

/** Reads the gateway's variables. @throws ConfigError naming what is wrong. */
export function parseGatewayConfig(env: Environment): GatewayConfig {
  const values = parseEnvironment(shape, env);
  return {
    host: values.HOST,
    port: values.PORT,
    dataDir: values.DATA_DIR,
    secretKey: values.SECRET_KEY ?? null,
    previousSecretKeys: values.SECRET_KEY_PREVIOUS,
    corsOrigins: values.CORS_ORIGINS,
    allowedHosts: values.ALLOWED_HOSTS,
    introspection: values.INTROSPECTION,
    proxyUrl: values.PROXY_URL ?? `http://${urlHost(values.HOST)}:${values.PROXY_PORT}`,
    proxyPort: values.PROXY_PORT,
    subgraphUrls: Object.fromEntries(
      values.SUBGRAPH_URLS.map((entry) => [entry.slice(0, entry.indexOf("=")), entry.slice(entry.indexOf("=") + 1)]),
    ),
    logLevel: values.LOG_LEVEL,
  };
}

/** How an address to listen on is written in a URL that works on this host. */
export function urlHost(host: string): string {
  if (host === "0.0.0.0" || host === "::") return "127.0.0.1";
  return host.includes(":") ? `[${host}]` : host;
}
