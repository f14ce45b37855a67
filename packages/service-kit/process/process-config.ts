import { z } from "zod";
import { readSecretKeys } from "../identity/secret-key.ts";
import {
  baseUrl,
  flag,
  integer,
  list,
  logLevel,
  metricsToken,
  parseEnvironment,
  parseTogether,
  port,
  publicAddresses,
  readNamed,
  schedule,
  secretKey,
  type Environment,
} from "./config.ts";
import type { LogLevel } from "./log.ts";

/** The configuration that all processes of Toolyard share. */
export interface ProcessConfig {
  /** The address to listen on. */
  host: string;
  dataDir: string;
  /** The URL at which clients reach Toolyard, without a trailing slash; null: as their Host headers say. */
  publicUrl: string | null;
  /** The URL at which tools are called, where it differs. */
  proxyUrl: string | null;
  /** Origins of browsers' pages that may call, the public one among them, beside loopback ones. */
  corsOrigins: string[];
  /** Names by which clients may address a process, beside loopback names and the CORS origins' hosts. */
  allowedHosts: string[];
  /** Whether the last address of X-Forwarded-For is believed: only behind a proxy that sets it. */
  trustProxy: boolean;
  /** Whether logins, operations and calls are limited. */
  rateLimits: boolean;
  /** Whether remote launches may lead to private addresses. */
  allowPrivateRemotes: boolean;
  /** The token that reads /metrics besides administrators' credentials; null: only those do. */
  metricsToken: string | null;
  /** When regular jobs run, as cron says it. */
  jobsSchedule: string;
  /** How long events, and records of what has ended, are kept. */
  retentionMs: number;
  logLevel: LogLevel;
  /** Whether each request has its line in the log. */
  logRequests: boolean;
  /** The server that keeps relational stores; null: each is a SQLite file in DATA_DIR. */
  database: DatabaseSettings | null;
  /** Null: several processes share nothing but the stores. */
  redis: RedisSettings | null;
  /** Null: what may be kept there is kept with the rest. */
  mongodb: MongodbSettings | null;
}

export interface DatabaseSettings {
  /** mysql: or mariadb:, with user, password and database. A secret. */
  url: string;
  /** Certificates, in PEM, that its own is verified by, and so TLS; null: those that Node knows. */
  ca: string | null;
  /** Connections of one store in one process for reads, and as many for transactions. */
  poolSize: number;
}

export interface MongodbSettings {
  /** mongodb: or mongodb+srv:, with user, password, database and options where it has them. A secret. */
  url: string;
  /** Certificates, in PEM, that its own is verified by, and so TLS; null: those that Node knows. */
  ca: string | null;
}

export interface RedisSettings {
  /** redis: or rediss: (TLS), with user, password and database where it has them. A secret. */
  url: string;
  /** Certificates, in PEM, that its own is verified by; null: those that Node knows. */
  ca: string | null;
  /** Begins the names of all that is kept there. */
  keyPrefix: string;
}

/** The variables of `ProcessConfig`, said here and nowhere else. */
export const processVariables = {
  // Of the name's two addresses one would be free for anybody.
  HOST: z
    .string()
    .overwrite((host) => (host === "localhost" ? "127.0.0.1" : host))
    .default("127.0.0.1")
    .meta({ example: "127.0.0.1" }),
  DATA_DIR: z.string().default("./data").meta({ example: "./data" }),
  ...publicAddresses,
  CORS_ORIGINS: list([], "https://app.example.com,https://admin.example.com").refine(
    (origins) => origins.every((origin) => URL.canParse(origin) && new URL(origin).origin === origin),
    "must be origins separated by commas, each scheme and host without a path",
  ),
  ALLOWED_HOSTS: list([], "toolyard.example.com"),
  TRUST_PROXY: flag(false),
  RATE_LIMIT_ENABLED: flag(true),
  ALLOW_PRIVATE_REMOTES: flag(false),
  METRICS_TOKEN: metricsToken,
  JOBS_SCHEDULE: schedule("@hourly"),
  RETENTION_DAYS: integer({ fallback: 30, min: 1, max: 3_650 }),
  LOG_LEVEL: logLevel,
  LOG_REQUESTS: flag(true),
};

const databaseVariables = {
  DATABASE_URL: z
    .string()
    .refine(
      isDatabaseUrl,
      "must be a mysql:// or mariadb:// URL with the database's name, %-escapes in user and password, and nothing after it but ?tls=true",
    )
    .optional()
    .meta({ secret: true, example: "mysql://toolyard:password@mysql.example.com:3306/toolyard?tls=true" }),
  DATABASE_CA_FILE: z.string().optional().meta({ example: "/etc/toolyard/mysql-ca.pem" }),
  DATABASE_POOL_SIZE: integer({ fallback: 6, min: 2, max: 1_000 }),
};

function isDatabaseUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname, pathname, search, hash, username, password } = new URL(text);
  return (
    /^(mysql|mariadb):$/.test(protocol) &&
    hostname !== "" &&
    /^\/[\w-]{1,64}$/.test(pathname) &&
    /^(\?tls=(true|false))?$/.test(search) &&
    hash === "" &&
    /^(?:[^%]|%[0-9a-f]{2})*$/i.test(username + password)
  );
}

const redisVariables = {
  REDIS_URL: z
    .string()
    .refine(isRedisUrl, "must be a redis:// or rediss:// URL, after whose host there is at most a database's number")
    .optional()
    .meta({ secret: true, example: "rediss://toolyard:password@redis.example.com:6379/0" }),
  REDIS_CA_FILE: z.string().optional().meta({ example: "/etc/toolyard/redis-ca.pem" }),
  REDIS_PREFIX: z
    .string()
    .regex(/^[\w.-]{1,64}$/, "must be 1 to 64 letters, digits and -._")
    .default("toolyard")
    .meta({ example: "toolyard" }),
};

function isRedisUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname, pathname, search, hash, username, password } = new URL(text);
  return (
    /^rediss?:$/.test(protocol) &&
    hostname !== "" &&
    /^(?:\/\d{0,3})?$/.test(pathname) &&
    search + hash === "" &&
    /^(?:[^%]|%[0-9a-f]{2})*$/i.test(username + password)
  );
}

const mongodbVariables = {
  MONGODB_URL: z
    .string()
    .regex(
      /^mongodb(?:\+srv)?:\/\/(?:(?:[^@/?#%]|%[0-9a-f]{2})+@)?[^@/?#,\s]+(?:,[^@/?#,\s]+)*(?:\/[\w-]{0,63})?(?:\?[^#\s]*)?$/i,
      "must be a mongodb:// or mongodb+srv:// URL, with %-escapes in user and password, and at most a database and options after its hosts",
    )
    .optional()
    .meta({ secret: true, example: "mongodb://toolyard:password@mongodb.example.com:27017/toolyard?tls=true" }),
  MONGODB_CA_FILE: z.string().optional().meta({ example: "/etc/toolyard/mongodb-ca.pem" }),
};

/** Where an installation keeps its data, for commands that work on it. @throws ConfigError naming every wrong variable */
export function parseDataConfig(env: Environment): Pick<ProcessConfig, "dataDir" | "database" | "mongodb"> {
  const [{ DATA_DIR: dataDir }, database, mongodb] = parseTogether(
    () => parseEnvironment({ DATA_DIR: processVariables.DATA_DIR }, env),
    () => parseDatabaseSettings(env),
    () => parseMongodbSettings(env),
  );
  return { dataDir, database, mongodb };
}

function parseRedisSettings(env: Environment): RedisSettings | null {
  const { REDIS_PREFIX: keyPrefix, ...values } = parseEnvironment(redisVariables, env);
  const server = readServer("REDIS", values);
  return server && { ...server, keyPrefix };
}

function parseDatabaseSettings(env: Environment): DatabaseSettings | null {
  const { DATABASE_POOL_SIZE: poolSize, ...values } = parseEnvironment(databaseVariables, env);
  const server = readServer("DATABASE", values);
  return server && { ...server, poolSize };
}

function parseMongodbSettings(env: Environment): MongodbSettings | null {
  return readServer("MONGODB", parseEnvironment(mongodbVariables, env));
}

/** The URL of a server, and its certificates, which lie in a file. @throws ConfigError */
function readServer<Name extends string>(
  name: Name,
  values: Partial<Record<`${Name}_${"URL" | "CA_FILE"}`, string | undefined>>,
): { url: string; ca: string | null } | null {
  const { [`${name}_URL` as const]: url, [`${name}_CA_FILE` as const]: caFile } = values;
  if (url === undefined) return null;
  return { url, ca: caFile === undefined ? null : readNamed(`${name}_CA_FILE`, caFile) };
}

/** @throws ConfigError where the operator expects the proxy to use a server that it does not. */
function refuseServers(env: Environment): null {
  const unused = (server: string) => z.undefined(`the proxy does not use ${server}. Remove the variable`).optional();
  const servers = { DATABASE_URL: "MySQL", MONGODB_URL: "MongoDB", REDIS_URL: "Redis" };
  parseEnvironment(Object.fromEntries(Object.entries(servers).map(([name, server]) => [name, unused(server)])), env);
  return null;
}

/** The addresses of the parts for each other: each read by the parts that need it. */
export const gatewayUrl = baseUrl("http://127.0.0.1:4000").default("http://127.0.0.1:4000");
export const proxyPort = port(4100);
/** How long a part that runs alone goes on serving after SIGTERM, while it says that it is not ready. */
export const drainSeconds = integer({ fallback: 0, min: 0, max: 600 });

/**
 * @param options.keepsData Whether the process keeps data of Toolyard.
 * @param options.usesServers Whether it shares with others what it would have in memory or files.
 * @throws ConfigError naming every wrong variable.
 */
export function parseProcessConfig(
  env: Environment,
  { keepsData = true, usesServers = keepsData }: { keepsData?: boolean; usesServers?: boolean } = {},
): ProcessConfig {
  const [values, database, redis, mongodb] = parseTogether(
    () => parseEnvironment(processVariables, env),
    () => (usesServers ? parseDatabaseSettings(env) : null),
    () => (usesServers ? parseRedisSettings(env) : keepsData ? refuseServers(env) : null),
    () => (usesServers ? parseMongodbSettings(env) : null),
  );
  const publicUrl = values.PUBLIC_URL ?? null;
  return {
    host: values.HOST,
    dataDir: values.DATA_DIR,
    publicUrl,
    proxyUrl: values.PROXY_URL ?? null,
    // The page at the public address is Toolyard's own.
    corsOrigins: [...values.CORS_ORIGINS, ...(publicUrl === null ? [] : [new URL(publicUrl).origin])],
    allowedHosts: values.ALLOWED_HOSTS,
    trustProxy: values.TRUST_PROXY,
    rateLimits: values.RATE_LIMIT_ENABLED,
    allowPrivateRemotes: values.ALLOW_PRIVATE_REMOTES,
    metricsToken: values.METRICS_TOKEN ?? null,
    jobsSchedule: values.JOBS_SCHEDULE,
    retentionMs: values.RETENTION_DAYS * 86_400_000,
    logLevel: values.LOG_LEVEL,
    logRequests: values.LOG_REQUESTS,
    database,
    redis,
    mongodb,
  };
}

const keyVariables = {
  SECRET_KEY: secretKey.optional(),
  SECRET_KEY_PREVIOUS: list([], "an earlier SECRET_KEY").meta({ secret: true }),
};

/** The key that the environment gives, or a file that it names; null: DATA_DIR keeps it. @throws ConfigError */
export function givenSecretKey(env: Environment): string | null {
  return parseEnvironment(keyVariables, env).SECRET_KEY ?? null;
}

/**
 * The keys of a process that holds them, the current one first: SECRET_KEY, or the one kept in DATA_DIR, and earlier ones.
 * @returns a function that reads them, to be called once the variables are known to be good and DATA_DIR is prepared
 * @throws ConfigError naming every wrong variable, never a key.
 */
export function parseSecretKeys(env: Environment): (dataDir: string) => Promise<readonly [string, ...string[]]> {
  const { SECRET_KEY: given, SECRET_KEY_PREVIOUS: previous } = parseEnvironment(keyVariables, env);
  return async (dataDir) =>
    given === undefined ? [...(await readSecretKeys(dataDir)), ...previous] : [given, ...previous];
}
