import { createHash } from "node:crypto";
import type { RedisConnection } from "@toolyard/redis";
import type { Cache } from "./cache.ts";
import { uncounted, type CacheCount } from "./cache-meter.ts";

const DAY_MS = 86_400_000;
const MAX_VALUE_LENGTH = 1_000_000;

/**
 * Shared by all processes on one Redis, as JSON, until it expires; at the latest after a day. While Redis is away there is nothing in it, and
 * longer values than a million characters are never. Whoever may write to Redis may write anything: seal what must be believed.
 * @param options.parse throws where it is no value
 */
export function createRedisCache<Value extends NonNullable<unknown>>(options: {
  redis: RedisConnection;
  /** Tells it from others on the same Redis. */
  name: string;
  parse: (json: unknown) => Value;
  count?: CacheCount;
}): Cache<Value> {
  const { redis, name, parse, count = uncounted } = options;
  const making = new Map<string, Promise<Value>>();
  const nameOf = (key: string) =>
    `${redis.keyPrefix}:cache:${name}:${createHash("sha256").update(key).digest("base64url")}`;

  async function find(key: string): Promise<Value | undefined> {
    try {
      const text = redis.isAway ? null : await redis.client.get(nameOf(key));
      if (text !== null) {
        const value = parse(JSON.parse(text));
        count.hit();
        return value;
      }
    } catch (error) {
      redis.failed(error);
    }
    count.miss();
    return undefined;
  }

  async function keep(key: string, value: Value, ttlMs = DAY_MS): Promise<void> {
    const text = JSON.stringify(value);
    if (redis.isAway || text.length > MAX_VALUE_LENGTH || ttlMs < 1) return;
    await redis.client.set(nameOf(key), text, "PX", Math.ceil(Math.min(ttlMs, DAY_MS))).catch(redis.failed);
  }

  return {
    get: find,
    set: keep,
    async delete(key) {
      making.delete(key);
      if (!redis.isAway) await redis.client.del(nameOf(key)).catch(redis.failed);
    },
    async wrap(key, make, ttlMs) {
      const running = making.get(key);
      if (running) return running;
      const isWanted = () => making.get(key) === made;
      const made = (async () => {
        const known = await find(key);
        if (known !== undefined) return known;
        const value = await make();
        if (isWanted()) await keep(key, value, typeof ttlMs === "function" ? ttlMs(value) : ttlMs);
        return value;
      })();
      making.set(key, made);
      try {
        return await made;
      } finally {
        if (isWanted()) making.delete(key);
      }
    },
  };
}
