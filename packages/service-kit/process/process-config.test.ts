import { mkdtemp, rm } from "node:fs/promises";
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
