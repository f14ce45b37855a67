import { eventually } from "@toolyard/testing/eventually.ts";
import {
  HELD_MS,
  describeOnRedis,
  describeWithOwnRedis,
  isGone,
  isThere,
  withRedis,
  withRedisServer,
} from "@toolyard/testing/redis.ts";
import { expect, test } from "vitest";
import { z } from "zod";
import { cacheContract } from "./cache.contract.ts";
import { createRedisCache } from "./cache.redis.ts";

const text = z.string().parse;

describeOnRedis("on Redis", () => {
  cacheContract("Redis", async () => {
    const ended = Promise.withResolvers<void>();
    const opened = Promise.withResolvers<Awaited<ReturnType<Parameters<typeof cacheContract>[1]>>>();
    const running = withRedis(async (open, prefix) => {
      const redis = open();
      await isThere(redis);
      opened.resolve({
        cache: createRedisCache<object>({ redis, name: "test", parse: z.looseObject({}).parse }),
        /** Takes the time from what is left of all values. */
        async advance(ms) {
          for (const key of await redis.client.keys(`${prefix}:cache:*`))
            await redis.client.pexpire(key, (await redis.client.pttl(key)) - ms);
        },
        async close() {
          ended.resolve();
          await running;
        },
      });
      await ended.promise;
    });
    return opened.promise;
  });

  test("what one process keeps another has, whose keys it does not show, and anything else is as none", () =>
    withRedis(async (open, prefix) => {
      const [one, other] = [open(), open()];
      await Promise.all([one, other].map(isThere));
      const cacheOf = (redis: typeof one) => createRedisCache({ redis, name: "test", parse: text });
      await cacheOf(one).set("secret", "value");
      expect(await cacheOf(other).get("secret")).toBe("value");
      const [key = ""] = await one.client.keys(`${prefix}:cache:test:*`);
      expect(key).not.toContain("secret");
      expect(await one.client.pttl(key)).toBeGreaterThan(0);
      for (const broken of ["{", "1"]) {
        await one.client.set(key, broken);
        expect(await cacheOf(other).get("secret")).toBeUndefined();
      }
      await cacheOf(one).set("long", "x".repeat(1_000_001));
      expect(await cacheOf(one).get("long")).toBeUndefined();
    }));
});

describeWithOwnRedis("the cache on a Redis that goes", () => {
  test("has nothing meanwhile, and makes what is asked for", () =>
    withRedisServer((server) =>
      withRedis(
        async (open) => {
          const redis = open();
          await isThere(redis);
          const cache = createRedisCache({ redis, name: "test", parse: text });
          const isKept = async () => (await cache.get("key")) === "kept";
          await eventually("a value that is kept", async () => (await cache.set("key", "kept"), isKept()));
          server.pause();
          expect(await cache.get("key")).toBeUndefined();
          await isGone(redis);
          server.resume();
          await eventually("the value that was kept", isKept);
          await server.stop();
          await isGone(redis);
          expect(await cache.get("key")).toBeUndefined();
          expect(await cache.wrap("key", async () => "made")).toBe("made");
          await cache.set("key", "lost");
          await cache.delete("key");
          await server.start();
          await isThere(redis);
        },
        server.url,
        HELD_MS,
      ),
    ));
});
