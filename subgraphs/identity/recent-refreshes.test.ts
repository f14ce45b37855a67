import { createMemoryCache, createRedisCache } from "@toolyard/cache";
import { createSealer } from "@toolyard/service-kit";
import { describeOnRedis, isThere, withRedis } from "@toolyard/testing/redis.ts";
import { expect, test } from "vitest";
import { z } from "zod";
import { createRecentRefreshes } from "./recent-refreshes.ts";

const sealer = createSealer({ secretKey: "a secret key for tests, of enough characters" });
const [HERE, NEAR, FAR] = ["2001:db8::1", "2001:db8::2", "192.0.2.1"];

test("an exchange is known for ten seconds, to who is at the same address", async () => {
  let time = 1_000_000;
  const cache = createMemoryCache<string>({ maxEntries: 10, now: () => time });
  const recent = createRecentRefreshes({ cache, sealer });
  await recent.note("token", "successor", HERE);
  expect(await recent.successorOf("token", NEAR)).toBe("successor");
  for (const client of [FAR, null]) expect(await recent.successorOf("token", client)).toBeNull();
  expect(await recent.successorOf("another", HERE)).toBeNull();
  time += 10_000;
  expect(await recent.successorOf("token", HERE)).toBeNull();
  await recent.note("unknown", "successor", null);
  expect(await recent.successorOf("unknown", null)).toBeNull();
});

describeOnRedis("exchanges of refresh tokens on Redis", () => {
  test("are known to the other processes, and neither read nor made up there", () =>
    withRedis(async (open, prefix) => {
      const caches = await Promise.all(
        [open(), open()].map(async (redis) => {
          await isThere(redis);
          return { redis, cache: createRedisCache({ redis, name: "refreshes", parse: z.string().parse }) };
        }),
      );
      const [one, other] = caches.map(({ cache }) => createRecentRefreshes({ cache, sealer }));
      await one?.note("token", "successor", HERE);
      expect(await other?.successorOf("token", HERE)).toBe("successor");
      const client = caches[0]?.redis.client;
      const [key = ""] = (await client?.keys(`${prefix}:cache:*`)) ?? [];
      expect(await client?.get(key)).not.toMatch(/2001|successor/);
      await one?.note("own", "own successor", FAR);
      const forged = (await client?.keys(`${prefix}:cache:*`))?.find((each) => each !== key) ?? "";
      await client?.set(key, (await client.get(forged)) ?? "");
      expect(await other?.successorOf("token", FAR)).toBeNull();
    }));
});
