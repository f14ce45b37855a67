import {
  HELD_MS,
  describeOnRedis,
  describeWithOwnRedis,
  isGone,
  isThere,
  withRedis,
  withRedisServer,
} from "@toolyard/testing/redis.ts";
import { describe, expect, test } from "vitest";
import { tokenBucketsContract } from "./token-buckets.contract.ts";
import { sharedTokenBuckets } from "./token-buckets.redis.ts";
import { createTokenBuckets } from "./token-buckets.ts";

const options = { name: "test", burst: 3, perMinute: 1 / 60, maxKeys: 100 };

describe("token buckets in memory", () =>
  tokenBucketsContract(async (wanted, run) => {
    const buckets = createTokenBuckets(wanted);
    await run([buckets, buckets]);
  }));

describeOnRedis("token buckets of two processes on Redis", () => {
  tokenBucketsContract((wanted, run) =>
    withRedis(async (open) => {
      const both = [open(), open()] as const;
      await Promise.all(both.map(isThere));
      await run([sharedTokenBuckets(both[0])(wanted), sharedTokenBuckets(both[1])(wanted)]);
    }),
  );

  test("tokens that were taken before the others were known are owed, up to a burst", () =>
    withRedis(async (open) => {
      const all = await Promise.all(
        [open(), open(), open(), open()].map(
          async (redis) => (await isThere(redis), sharedTokenBuckets(redis)(options)),
        ),
      );
      const now = Date.now();
      for (const buckets of all) expect(buckets.take("key", now, 3)).toBe(0);
      await Promise.all(all.map(async (buckets) => buckets.learn("key")));
      await all[0]?.learn("key");
      expect(all[0]?.left("key", now)).toBeCloseTo(-3, 1);
    }));

  test("keys in Redis say nothing of callers, and end when their buckets are full", () =>
    withRedis(async (open, prefix) => {
      const redis = open();
      await isThere(redis);
      const buckets = sharedTokenBuckets(redis)({ ...options, perMinute: 60_000 / 20 });
      buckets.take("2001:db8::/64", Date.now());
      await buckets.learn("2001:db8::/64");
      const keys = () => redis.client.keys(`${prefix}:rate:*`);
      expect(JSON.stringify(await keys())).not.toContain("2001");
      await expect.poll(keys).toEqual([]);
    }));
});

describeWithOwnRedis("token buckets whose Redis goes", () => {
  test("limit each process for itself meanwhile, and are shared again after it", () =>
    withRedisServer((server) =>
      withRedis(async (open) => {
        const both = [open(), open()] as const;
        await Promise.all(both.map(isThere));
        const [one, other] = [sharedTokenBuckets(both[0])(options), sharedTokenBuckets(both[1])(options)];
        await server.stop();
        await Promise.all(both.map(isGone));
        const now = Date.now();
        for (const buckets of [one, other]) {
          expect(buckets.take("key", now, 3)).toBe(0);
          await buckets.learn("key");
          expect(buckets.take("key", now)).toBeGreaterThan(0);
        }
        await server.start();
        await Promise.all(both.map(isThere));
        expect(one.take("another", now, 3)).toBe(0);
        await one.learn("another");
        await other.learn("another");
        expect(other.take("another", now)).toBeGreaterThan(0);
      }, server.url),
    ));

  test("wait for no Redis that is held, and learn within its time", () =>
    withRedisServer((server) =>
      withRedis(
        async (open) => {
          const redis = open();
          await isThere(redis);
          const buckets = sharedTokenBuckets(redis)(options);
          server.pause();
          const now = Date.now();
          for (let n = 0; n < 3; n++) expect(buckets.take("key", now)).toBe(0);
          expect(buckets.take("key", now)).toBeGreaterThan(0);
          await buckets.learn("key");
          expect(buckets.take("key", now)).toBeGreaterThan(0);
          server.resume();
          await isThere(redis);
        },
        server.url,
        HELD_MS,
      ),
    ));

  test("go on where Redis takes no writes", () =>
    withRedisServer(
      (server) =>
        withRedis(async (open) => {
          const redis = open();
          await isThere(redis);
          const buckets = sharedTokenBuckets(redis)(options);
          const now = Date.now();
          expect(buckets.take("key", now, 3)).toBe(0);
          await buckets.learn("key");
          expect(buckets.take("key", now)).toBeGreaterThan(0);
          expect(await redis.health()).toMatchObject({ status: "degraded" });
        }, server.url),
      "--maxmemory",
      "1",
    ));
});
