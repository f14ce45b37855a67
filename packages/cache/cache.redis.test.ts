import { eventually } from "@toolyard/testing/eventually.ts";
import {
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
    const running = withRedis(async (open) => {
      const redis = open();
      await isThere(redis);
      const now = async () => {
        const [seconds, micros] = await redis.client.time();
        return Number(seconds) * 1_000 + Number(micros) / 1_000;
      };
      opened.resolve({
        cache: createRedisCache<object>({ redis, name: "test", parse: z.looseObject({}).parse }),
        // Time is Redis' own.
        async advance(ms) {
          const until = (await now()) + ms;
          await eventually("a later time", async () => (await now()) > until);
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
      withRedis(async (open) => {
        const redis = open();
        await isThere(redis);
        const cache = createRedisCache({ redis, name: "test", parse: text });
        await cache.set("key", "kept");
        server.pause();
        expect(await cache.get("key")).toBeUndefined();
        await isGone(redis);
        server.resume();
        await isThere(redis);
        expect(await cache.get("key")).toBe("kept");
        await server.stop();
        await isGone(redis);
        expect(await cache.get("key")).toBeUndefined();
        expect(await cache.wrap("key", async () => "made")).toBe("made");
        await cache.set("key", "lost");
        await cache.delete("key");
        await server.start();
        await isThere(redis);
      }, server.url),
    ));
});
