import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Logger } from "@toolyard/service-kit";
import { eventually } from "@toolyard/testing/eventually.ts";
import { freePort } from "@toolyard/testing/ports.ts";
import {
  HELD_MS,
  describeOnRedis,
  describeWithOwnRedis,
  isGone,
  isThere,
  withRedis,
  withRedisServer,
  type RedisServer,
} from "@toolyard/testing/redis.ts";
import { describe, expect, onTestFinished, test } from "vitest";
import { openRedis, reconnectDelayMs } from "./connection.ts";

const PASSWORD = "hunter2";

/** A connection, and what it logs. */
function connect(url: string, { ca = null, answerMs = 30_000 }: { ca?: string | null; answerMs?: number } = {}) {
  const logged: string[] = [];
  const log = (...parts: unknown[]) => void logged.push(JSON.stringify(parts));
  // Of a logger it uses these two.
  const logger = { info: log, warn: log } as unknown as Logger;
  const redis = openRedis({ settings: { url, ca, keyPrefix: "test-connection" }, name: "test", logger, answerMs });
  onTestFinished(() => redis.close());
  return { redis, logged };
}

const healthy = { name: "redis", status: "healthy", essential: false };
const degraded = (detail: RegExp) => ({
  name: "redis",
  status: "degraded",
  essential: false,
  detail: expect.stringMatching(detail),
});

test("pauses before attempts grow, are bounded, and differ between processes", () => {
  const most = [1, 2, 3, 10, 1_000].map((attempt) => reconnectDelayMs(attempt, () => 1));
  expect(most).toEqual([100, 200, 400, 2_000, 2_000]);
  expect(reconnectDelayMs(3, () => 0)).toBe(200);
});

test("a Redis that is not there is degraded health, and commands fail at once", async () => {
  const { redis, logged } = connect(`redis://user:${PASSWORD}@127.0.0.1:${await freePort()}/1`);
  await expect.poll(() => redis.health()).toMatchObject(degraded(/^Nothing listens there .* REDIS_URL says\.$/));
  await expect(redis.client.get("a")).rejects.toThrow();
  const attempts = () => redis.gauges().find(({ name }) => name === "redis_reconnects_total")?.value;
  await expect.poll(attempts).toBeGreaterThan(3);
  // Perhaps also that it was away, before there was a reason.
  expect(logged.length).toBeLessThan(3);
  expect(JSON.stringify([logged, await redis.health()])).not.toMatch(`${PASSWORD}|127.0.0.1`);
  expect(redis.gauges().find(({ name }) => name === "redis_connected")).toMatchObject({ value: 0 });
});

describeOnRedis("a connection to Redis", () => {
  test("is healthy, has its process's name, and ends with all that were made of it", () =>
    withRedis(async (open) => {
      const redis = open();
      const further = redis.further();
      await isThere(redis);
      expect(await redis.health()).toMatchObject(healthy);
      expect(String(await redis.client.client("GETNAME"))).toBe("toolyard-test");
      expect(redis.gauges()).toContainEqual(expect.objectContaining({ name: "redis_connected", value: 1 }));
      await redis.close();
      await expect.poll(() => [redis.client.status, further.status]).toEqual(["end", "end"]);
    }));
});

describeWithOwnRedis("a connection to a Redis with faults", () => {
  test("is there again after Redis was stopped, and says so once", () =>
    withRedisServer(async (server) => {
      const { redis, logged } = connect(server.url);
      await isThere(redis);
      let ready = 0;
      const stop = redis.onReady(() => ready++);
      await server.stop();
      await isGone(redis);
      await expect.poll(() => redis.health()).toMatchObject({ status: "degraded" });
      await server.start();
      await eventually("that it is healthy", async () => (await redis.health()).status === "healthy");
      expect(ready).toBe(1);
      stop();
      expect(logged.filter((line) => line.includes("usable again"))).toHaveLength(1);
    }));

  test("fails commands of a Redis that is held within their time, and then at once", () =>
    withRedisServer(async (server) => {
      const { redis } = connect(server.url, { answerMs: HELD_MS });
      await isThere(redis);
      server.pause();
      await expect(redis.client.get("a")).rejects.toThrow(/timed out|closed|max retries/i);
      await isGone(redis);
      await expect(redis.client.get("a")).rejects.toThrow();
      expect(await redis.health()).toMatchObject(degraded(/^It /));
      server.resume();
      await isThere(redis);
      expect(await redis.health()).toMatchObject(healthy);
    }));

  test("has user and password from the URL, and repeats neither", () =>
    withRedisServer(
      async (server) => {
        const at = (userinfo: string) => connect(server.url.replace("//", `//${userinfo}@`));
        const right = at("default:sw%40rdfish").redis;
        await isThere(right);
        expect(await right.health()).toMatchObject(healthy);
        const { redis, logged } = at(`default:${PASSWORD}`);
        await expect.poll(() => redis.health()).toMatchObject(degraded(/^It refuses user and password \(WRONGPASS\)/));
        expect(redis.isAway).toBe(true);
        expect(JSON.stringify([logged, await redis.health()])).not.toContain(PASSWORD);
        const { redis: stranger } = connect(server.url);
        await expect.poll(() => stranger.health()).toMatchObject(degraded(/NOAUTH/));
      },
      "--requirepass",
      "sw@rdfish",
    ));

  test("is degraded on a replica, which takes no writes, and healthy when it is the primary", () =>
    withRedisServer(async (primary) =>
      withRedisServer(
        async (replica) => {
          const { redis } = connect(replica.url);
          await expect.poll(() => redis.health()).toMatchObject(degraded(/READONLY/));
          await promote(replica);
          await expect.poll(() => redis.health()).toMatchObject(healthy);
        },
        "--replicaof",
        "127.0.0.1",
        new URL(primary.url).port,
      ),
    ));

  test("is degraded where Redis' memory is full", () =>
    withRedisServer(
      async (server) => {
        const { redis } = connect(server.url);
        await expect.poll(() => redis.health()).toMatchObject(degraded(/memory is full \(OOM\)/));
      },
      "--maxmemory",
      "1",
    ));

  test("goes by TLS where the URL is rediss://, and only to who has a certificate of REDIS_CA_FILE", () => {
    const folder = mkdtempSync(join(tmpdir(), "toolyard-tls-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const [key, certificate] = [join(folder, "key.pem"), join(folder, "certificate.pem")];
    const made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    const names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
    const { error } = spawnSync("openssl", [...made, ...names, "-keyout", key, "-out", certificate]);
    if (error) throw error;
    return freePort().then((port) =>
      withRedisServer(
        async () => {
          const url = `rediss://localhost:${port}`;
          const { redis } = connect(url, { ca: readFileSync(certificate, "utf8") });
          await expect.poll(() => redis.health()).toMatchObject(healthy);
          const { redis: distrustful } = connect(url);
          await expect.poll(() => distrustful.health()).toMatchObject(degraded(/TLS with it fails/));
        },
        "--tls-port",
        String(port),
        "--tls-cert-file",
        certificate,
        "--tls-key-file",
        key,
        "--tls-ca-cert-file",
        certificate,
        "--tls-auth-clients",
        "no",
      ),
    );
  });
});

async function promote(server: RedisServer): Promise<void> {
  const { redis } = connect(server.url);
  await eventually("a promotion", () => redis.client.replicaof("NO", "ONE"));
}

describe("the settings of a connection", () => {
  test.each(["redis://127.0.0.1:1/7", "redis://[::1]:1"])("are those of %s", (url) => {
    const { redis } = connect(url);
    const { host, port, db } = redis.client.options;
    expect({ host, port, db }).toEqual({
      host: url.includes("::1") ? "::1" : "127.0.0.1",
      port: 1,
      db: url.endsWith("/7") ? 7 : 0,
    });
  });
});
