import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parseProcessConfig, parseSecretKeys } from "./process-config.ts";

test("nothing set means this host alone, and data in ./data", () => {
  expect(parseProcessConfig({})).toEqual({
    host: "127.0.0.1",
    dataDir: "./data",
    publicUrl: null,
    proxyUrl: null,
    corsOrigins: [],
    allowedHosts: [],
    trustProxy: false,
    rateLimits: true,
    allowPrivateRemotes: false,
    metricsToken: null,
    jobsSchedule: "@hourly",
    retentionMs: 30 * 86_400_000,
    logLevel: "info",
    logRequests: true,
    database: null,
    redis: null,
    mongodb: null,
  });
});

test("the page at PUBLIC_URL is Toolyard's own", () => {
  const { publicUrl, corsOrigins } = parseProcessConfig({
    PUBLIC_URL: "https://example.com/toolyard/",
    CORS_ORIGINS: "https://app.example.com",
  });
  expect(publicUrl).toBe("https://example.com/toolyard");
  expect(corsOrigins).toEqual(["https://app.example.com", "https://example.com"]);
});

test("every wrong variable is named, and servers that would be ignored are refused by whoever keeps data", () => {
  expect(() => parseProcessConfig({ CORS_ORIGINS: "app", LOG_LEVEL: "loud" })).toThrow(/CORS_ORIGINS: .*\nLOG_LEVEL: /);
  const env = { DATABASE_URL: "mysql://db" };
  expect(() => parseProcessConfig(env)).toThrow(/^DATABASE_URL: /);
  expect(parseProcessConfig(env, { keepsData: false }).host).toBe("127.0.0.1");
});

const PASSWORD = "hunter2%2F";

test.each([
  [{ REDIS_URL: `redis://:${PASSWORD}@redis.example.com` }, { ca: null, keyPrefix: "toolyard" }],
  [
    { REDIS_URL: `rediss://u:${PASSWORD}@[::1]:6380/3`, REDIS_PREFIX: "a.b" },
    { ca: null, keyPrefix: "a.b" },
  ],
])("Redis is where %o says", (env, expected) => {
  expect(parseProcessConfig(env).redis).toEqual({ url: env.REDIS_URL, ...expected });
  // A gateway of other graphs, in whose environment it may be for something else.
  expect(parseProcessConfig(env, { keepsData: false }).redis).toBeNull();
  expect(() => parseProcessConfig(env, { usesServers: false })).toThrow(/^REDIS_URL: .*Remove/);
});

test.each([
  `http://u:${PASSWORD}@db`,
  `redis://u:${PASSWORD}@db/name`,
  `redis://u:${PASSWORD}@db/0?family=6`,
  "redis://u:hunter2%zz@db",
  "hunter2",
])("refuses %s as Redis' URL, and does not repeat it", (REDIS_URL) => {
  expect(() => parseProcessConfig({ REDIS_URL })).toThrow(/^REDIS_URL: must (?!.*hunter2)/);
});

test("Redis' URL and the certificate of who issued its own may lie in files", async () => {
  const folder = await mkdtemp(join(tmpdir(), "toolyard-files-"));
  try {
    const [file, ca] = [join(folder, "url"), join(folder, "ca.pem")];
    await writeFile(file, "rediss://db\n");
    await writeFile(ca, "a certificate");
    const env = { REDIS_URL_FILE: file, REDIS_CA_FILE: ca };
    expect(parseProcessConfig(env).redis).toEqual({ url: "rediss://db", ca: "a certificate", keyPrefix: "toolyard" });
    expect(() => parseProcessConfig({ ...env, REDIS_URL: "redis://db" })).toThrow("REDIS_URL_FILE: REDIS_URL is set");
    expect(() => parseProcessConfig({ REDIS_URL_FILE: join(folder, "none") })).toThrow(/REDIS_URL_FILE: .*ENOENT/);
    await writeFile(file, "hunter2");
    expect(() => parseProcessConfig(env)).toThrow(/^REDIS_URL: must (?!.*hunter2)/);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test.each([
  `mongodb://u:${PASSWORD}@a:1,b:2,[::1]:3/toolyard?replicaSet=rs&tls=true`,
  "mongodb+srv://u:p%40@cluster.example.com/?retryWrites=true",
  "mongodb://127.0.0.1:27017",
])("MongoDB is where %s says", (MONGODB_URL) => {
  const env = { MONGODB_URL };
  expect(parseProcessConfig(env).mongodb).toEqual({ url: MONGODB_URL, ca: null });
  expect(parseProcessConfig(env, { keepsData: false }).mongodb).toBeNull();
  expect(() => parseProcessConfig(env, { usesServers: false })).toThrow(/^MONGODB_URL: .*Remove/);
});

test.each([
  `http://u:${PASSWORD}@db`,
  "mongodb://u:hunter2%zz@db",
  "mongodb://u:hunter2@x@db",
  `mongodb://u:${PASSWORD}@db/a/b`,
  "mongodb://",
  "hunter2",
])("refuses %s as MongoDB's URL, and does not repeat it", (MONGODB_URL) => {
  expect(() => parseProcessConfig({ MONGODB_URL })).toThrow(/^MONGODB_URL: must (?!.*hunter2)/);
});

test("MongoDB's URL and the certificate of who issued its own may lie in files", async () => {
  const folder = await mkdtemp(join(tmpdir(), "toolyard-files-"));
  try {
    const [file, ca] = [join(folder, "url"), join(folder, "ca.pem")];
    await writeFile(file, "mongodb://db\n");
    await writeFile(ca, "a certificate");
    const env = { MONGODB_URL_FILE: file, MONGODB_CA_FILE: ca };
    expect(parseProcessConfig(env).mongodb).toEqual({ url: "mongodb://db", ca: "a certificate" });
    expect(() => parseProcessConfig({ ...env, MONGODB_URL: "mongodb://x" })).toThrow("MONGODB_URL_FILE: MONGODB_URL");
    await writeFile(file, "hunter2");
    expect(() => parseProcessConfig(env)).toThrow(/^MONGODB_URL: must (?!.*hunter2)/);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test.each([`mysql://u:${PASSWORD}@db.example.com:3307/toolyard`, "mariadb://u:p%40@[::1]/tool-yard?tls=true"])(
  "the relational stores are where %s says",
  (DATABASE_URL) => {
    expect(parseProcessConfig({ DATABASE_URL }).database).toEqual({ url: DATABASE_URL, ca: null, poolSize: 6 });
    expect(parseProcessConfig({ DATABASE_URL }, { keepsData: false }).database).toBeNull();
    expect(() => parseProcessConfig({ DATABASE_URL }, { usesServers: false })).toThrow(/^DATABASE_URL: .*Remove/);
  },
);

test.each([
  `postgres://u:${PASSWORD}@db/toolyard`,
  `mysql://u:${PASSWORD}@db`,
  `mysql://u:${PASSWORD}@db/a/b`,
  `mysql://u:${PASSWORD}@db/a?multipleStatements=true`,
  "mysql://u:hunter2%zz@db/a",
  "hunter2",
])("refuses %s as the database's URL, and does not repeat it", (DATABASE_URL) => {
  expect(() => parseProcessConfig({ DATABASE_URL })).toThrow(/^DATABASE_URL: must (?!.*hunter2)/);
});

test("the current key comes first: SECRET_KEY, else the one that is kept", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "toolyard-keys-"));
  try {
    const [current, earlier] = ["c".repeat(40), "e".repeat(40)];
    const read = (env: Record<string, string>) => parseSecretKeys(env)(dataDir);
    expect(await read({ SECRET_KEY: current, SECRET_KEY_PREVIOUS: earlier })).toEqual([current, earlier]);
    const [kept, ...others] = await read({ SECRET_KEY_PREVIOUS: earlier });
    expect(kept).not.toBe(earlier);
    expect(others).toEqual([earlier]);
    expect(await read({})).toEqual([kept]);
    expect(() => parseSecretKeys({ SECRET_KEY: "hunter2" })).toThrow(/^SECRET_KEY: (?!.*hunter2)/);
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
});

test("the name localhost is the address that is printed", () => {
  expect(parseProcessConfig({ HOST: "localhost" }).host).toBe("127.0.0.1");
});
