import {
  flag,
  httpUrl,
  integer,
  list,
  parseEnvironment,
  parseTogether,
  port,
  ratio,
  ConfigError,
} from "@toolyard/service-kit/process/config.ts";
import {
  drainSeconds,
  parseProcessConfig,
  proxyPort,
  type ProcessConfig,
} from "@toolyard/service-kit/process/process-config.ts";
import { cgiName } from "@toolyard/service-kit/http/request-ambiguity.ts";
import type { Environment } from "@toolyard/service-kit";
import { z } from "zod";
import { ENGINES, type Engine } from "./execution/executor.ts";
import type { CallerLimitsOptions } from "./admission/caller-limits.ts";
import { defaultOperationLimits, type OperationLimits } from "./admission/operation-limits.ts";
import { parseTelemetryConfig, type TelemetryConfig } from "./observability/telemetry-config.ts";

export interface GatewayConfig extends ProcessConfig {
  port: number;
  /** Where it is on, `https://studio.apollographql.com` may call, too. */
  introspection: boolean;
  /** How long a gateway that runs alone goes on serving, while it is not ready, before it stops. */
  drainMs: number;
  /** Hosts that subscriptions by HTTP callback may call; none turns them off. */
  callbackHosts: string[];
  /** Subgraphs over HTTP whose subscriptions use server-sent events; the others' use graphql-transport-ws. */
  sseSubgraphs: string[];
  protection: ProtectionConfig;
  /** The engine for queries and mutations. */
  executor: Engine;
  /** The share of queries that the other engine runs as well, to compare. */
  shadowShare: number;
  /** Operations that take longer are logged with their plan; null: none are. */
  slowOperationMs: number | null;
  /** Whether anyone, not only administrators, may see the plan of an operation. */
  exposePlans: boolean;
  /** How many operations metrics tell apart. */
  maxOperationMetrics: number;
  /** Headers of a client's request that go on to the subgraphs, in lower case. */
  forwardHeaders: string[];
  /** The keys that verify bearer tokens when the gateway runs without Toolyard; null: no tokens are verified. */
  jwt: { jwksUrl: string; issuer: string | null; audience: string | null } | null;
  /** The URL at which clients call tools. */
  proxyUrl: string;
  /** The URL at which this process reaches the proxy, where that runs on its own. */
  proxyAddress: string;
  /** The same where it runs beside this process. */
  localProxyAddress: string;
  proxyPort: number;
  /** URLs of subgraphs that run on their own, by name; the supergraph's where left out. */
  subgraphUrls: Record<string, string>;
  /** How often running subgraphs are asked for their schemas, where the gateway composes them. */
  schemaPollIntervalMs: number;
  /** Traces and usage reports. */
  telemetry: TelemetryConfig;
}

/** Limits that keep one client from hurting the others. */
interface ProtectionConfig {
  operations: OperationLimits;
  /** The longest that one operation may take. */
  timeoutMs: number;
  maxBodyBytes: number;
  /** For anonymous callers; where no tokens are verified, the same as for others. */
  maxAnonymousBodyBytes: number;
  /** Operations in one request; 0: lists are refused. */
  maxBatch: number;
  /** For one caller; null: callers are not limited. */
  caller: Omit<CallerLimitsOptions, "burst" | "now"> | null;
  automaticPersistedQueries: boolean;
  /** A file of operations that can be asked for by their ids. */
  persistedOperationsFile: string | null;
  /** Whether only the operations of that file may run. */
  safelist: boolean;
  maskErrors: boolean;
}

const limit = (fallback: number) => integer({ fallback, min: 1, max: 1_000_000_000 });
/** Toolyard's own: those that cost most, and those by which strangers get in. */
const FIELDS_PER_MINUTE = [
  "login=600",
  "register=600",
  "refreshSession=1200",
  "searchDocuments=3000",
  "analyzeFeasibility=240",
  "suggestImprovements=240",
  "generateConfig=240",
  "connectRepository=60",
  "syncRepository=60",
];
const HEADER_NAME = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/;

/** RFC 9110, section 7.6.1, and headers about the form of the gateway's own request to a subgraph. */
const NEVER_FORWARDED = new Set(
  (
    "connection keep-alive proxy-connection te trailer transfer-encoding upgrade http2-settings host expect " +
    "content-length content-type content-encoding accept accept-encoding"
  ).split(" "),
);

const shape = {
  PORT: port(4000),
  PROXY_PORT: proxyPort,
  DRAIN_SECONDS: drainSeconds,
  SUBGRAPH_URLS: list([], "tools=http://10.0.0.2:4002/graphql").refine(
    (entries) => entries.every((entry) => /^[\w.-]+=https?:\/\/.+/.test(entry)),
    "must be name=URL pairs separated by commas",
  ),
  SCHEMA_POLL_INTERVAL_MS: integer({ fallback: 10_000, min: 100, max: 86_400_000 }),
  CALLBACK_HOSTS: list([], "router.example.com:443"),
  SSE_SUBGRAPHS: list([], "reviews,inventory"),
  REQUEST_TIMEOUT_MS: integer({ fallback: 30_000, min: 1, max: 3_600_000 }),
  MAX_BODY_BYTES: integer({ fallback: 10 * 1_048_576, min: 1, max: 1_073_741_824 }),
  MAX_ANONYMOUS_BODY_BYTES: integer({ fallback: 262_144, min: 1, max: 1_073_741_824 }),
  MAX_DEPTH: limit(defaultOperationLimits.maxDepth),
  MAX_ALIASES: integer({ fallback: defaultOperationLimits.maxAliases, min: 0, max: 1_000_000 }),
  MAX_TOKENS: limit(defaultOperationLimits.maxTokens),
  MAX_DIRECTIVES: integer({ fallback: defaultOperationLimits.maxDirectives, min: 0, max: 1_000_000 }),
  MAX_ROOT_FIELDS: limit(defaultOperationLimits.maxRootFields),
  MAX_COST: limit(defaultOperationLimits.maxCost),
  DEFAULT_LIST_SIZE: integer({ fallback: defaultOperationLimits.defaultListSize, min: 0, max: 1_000_000 }),
  BATCH_LIMIT: integer({ fallback: 0, min: 0, max: 1_000 }),
  RATE_LIMIT_OPERATIONS_PER_MINUTE: limit(30_000),
  MAX_CONCURRENT_OPERATIONS: limit(200),
  MAX_CONCURRENT_SUBSCRIPTIONS: limit(1_000),
  AUTOMATIC_PERSISTED_QUERIES: flag(true),
  PERSISTED_OPERATIONS: z.string().optional().meta({ example: "./persisted-operations.json" }),
  SAFELIST: flag(false),
  MASK_ERRORS: flag(true),
  EXECUTOR: z
    .enum(ENGINES, `must be one of ${ENGINES.join(", ")}`)
    .default("toolyard")
    .meta({ example: "apollo" }),
  EXECUTOR_SHADOW: ratio(0).meta({ example: 0.01 }),
  SLOW_OPERATION_MS: integer({ fallback: 5_000, min: 0, max: 3_600_000 }),
  EXPOSE_PLANS: flag(false),
  MAX_OPERATION_METRICS: integer({ fallback: 200, min: 0, max: 10_000 }),
  FORWARD_HEADERS: list([], "authorization,accept-language")
    .refine(
      (headers) => headers.every((name) => HEADER_NAME.test(name)),
      "must be names of headers separated by commas",
    )
    .refine(
      (headers) => !headers.some((name) => NEVER_FORWARDED.has(name.toLowerCase())),
      `may not name what belongs to one connection or one body: ${[...NEVER_FORWARDED].join(", ")}`,
    )
    .refine(
      (headers) => !headers.some((name) => cgiName(name).startsWith("x-toolyard-")),
      "may not name X-Toolyard-… in any spelling: by these the parts of Toolyard tell each other who calls",
    ),
  JWKS_URL: httpUrl("https://auth.example.com/.well-known/jwks.json").optional(),
  JWT_ISSUER: z.string().optional().meta({ example: "https://auth.example.com/" }),
  JWT_AUDIENCE: z.string().optional().meta({ example: "my-graph" }),
};

/**
 * Reads the gateway's variables.
 * @param options.isAlone Whether it serves a supergraph with no other part of Toolyard: then it stores nothing.
 * @param options.process The process's variables, where they are parsed already.
 * @throws ConfigError naming the fault.
 */
export function parseGatewayConfig(
  env: Environment,
  options: { isAlone?: boolean; process?: ProcessConfig } = {},
): GatewayConfig {
  const { isAlone = false } = options;
  // As in Apollo's server: in production, introspection has to be turned on.
  const INTROSPECTION = flag(env["NODE_ENV"] !== "production");
  // Another graph's fields may have the same names.
  const RATE_LIMIT_FIELDS = list(isAlone ? [] : FIELDS_PER_MINUTE, "login=600,searchDocuments=3000").refine(
    (entries) => entries.every((entry) => /^[_A-Za-z]\w*=[1-9]\d{0,8}$/.test(entry)),
    "must be name=NUMBER pairs separated by commas",
  );
  const [process, values] = parseTogether(
    () => options.process ?? parseProcessConfig(env, { keepsData: !isAlone }),
    () => parseEnvironment({ ...shape, INTROSPECTION, RATE_LIMIT_FIELDS }, env),
  );
  const { host, publicUrl, proxyUrl, rateLimits } = process;
  if (values.SAFELIST && values.PERSISTED_OPERATIONS === undefined) {
    throw new ConfigError(
      "SAFELIST: only operations of a file may run, but PERSISTED_OPERATIONS names none. Example: PERSISTED_OPERATIONS=./persisted-operations.json",
    );
  }
  for (const name of ["JWT_ISSUER", "JWT_AUDIENCE"] as const) {
    if (values[name] !== undefined && values.JWKS_URL === undefined)
      throw new ConfigError(
        `${name}: tokens are verified only where JWKS_URL names the keys. Example: JWKS_URL=https://auth.example.com/.well-known/jwks.json`,
      );
  }
  const localProxyAddress = `http://${urlHost(host)}:${values.PROXY_PORT}`;
  return {
    ...process,
    port: values.PORT,
    drainMs: values.DRAIN_SECONDS * 1_000,
    introspection: values.INTROSPECTION,
    callbackHosts: values.CALLBACK_HOSTS,
    sseSubgraphs: values.SSE_SUBGRAPHS,
    protection: {
      operations: {
        maxDepth: values.MAX_DEPTH,
        maxAliases: values.MAX_ALIASES,
        maxTokens: values.MAX_TOKENS,
        maxDirectives: values.MAX_DIRECTIVES,
        maxRootFields: values.MAX_ROOT_FIELDS,
        maxCost: values.MAX_COST,
        defaultListSize: values.DEFAULT_LIST_SIZE,
      },
      timeoutMs: values.REQUEST_TIMEOUT_MS,
      maxBodyBytes: values.MAX_BODY_BYTES,
      maxAnonymousBodyBytes:
        isAlone && values.JWKS_URL === undefined ? values.MAX_BODY_BYTES : values.MAX_ANONYMOUS_BODY_BYTES,
      maxBatch: values.BATCH_LIMIT,
      caller: rateLimits
        ? {
            operationsPerMinute: values.RATE_LIMIT_OPERATIONS_PER_MINUTE,
            fieldsPerMinute: Object.fromEntries(
              values.RATE_LIMIT_FIELDS.map((entry) => entry.split("=")).map(([name = "", max]) => [name, Number(max)]),
            ),
            maxConcurrentOperations: values.MAX_CONCURRENT_OPERATIONS,
            maxConcurrentSubscriptions: values.MAX_CONCURRENT_SUBSCRIPTIONS,
          }
        : null,
      automaticPersistedQueries: values.AUTOMATIC_PERSISTED_QUERIES,
      persistedOperationsFile: values.PERSISTED_OPERATIONS ?? null,
      safelist: values.SAFELIST,
      maskErrors: values.MASK_ERRORS,
    },
    executor: values.EXECUTOR,
    shadowShare: values.EXECUTOR_SHADOW,
    slowOperationMs: values.SLOW_OPERATION_MS === 0 ? null : values.SLOW_OPERATION_MS,
    exposePlans: values.EXPOSE_PLANS,
    maxOperationMetrics: values.MAX_OPERATION_METRICS,
    // The trace goes on anyway, with the gateway's own part in it.
    forwardHeaders: values.FORWARD_HEADERS.map((name) => name.toLowerCase()).filter(
      (name) => !/^trace(parent|state)$/.test(name),
    ),
    jwt:
      values.JWKS_URL === undefined
        ? null
        : { jwksUrl: values.JWKS_URL, issuer: values.JWT_ISSUER ?? null, audience: values.JWT_AUDIENCE ?? null },
    proxyUrl: proxyUrl ?? publicUrl ?? localProxyAddress,
    proxyAddress: proxyUrl ?? localProxyAddress,
    localProxyAddress,
    proxyPort: values.PROXY_PORT,
    subgraphUrls: Object.fromEntries(
      values.SUBGRAPH_URLS.map((entry) => [entry.slice(0, entry.indexOf("=")), entry.slice(entry.indexOf("=") + 1)]),
    ),
    schemaPollIntervalMs: values.SCHEMA_POLL_INTERVAL_MS,
    telemetry: parseTelemetryConfig(env),
  };
}

/** An address to listen on, as written in a URL that works on this host. */
export function urlHost(host: string): string {
  if (host === "0.0.0.0" || host === "::") return "127.0.0.1";
  return host.includes(":") ? `[${host}]` : host;
}
