import { createHash } from "node:crypto";
import type { RedisConnection } from "@toolyard/redis";
import { createTokenBuckets, type CreateTokenBuckets, type TokenBuckets } from "./token-buckets.ts";

/**
 * Takes tokens from a bucket, also those that are not there, and answers how many are left. Times are of Redis' clock. A full bucket is
 * no key. It writes whatever it is asked, so that a Redis that takes no writes tells nobody of buckets from which nothing was taken.
 */
const DEBIT = `
local burst, per_ms, tokens = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call("TIME")
local now = time[1] * 1000 + time[2] / 1000
local known = redis.call("HMGET", KEYS[1], "left", "at")
local left = burst
if known[1] then left = math.min(burst, known[1] + math.max(0, now - known[2]) * per_ms) end
left = math.max(left - tokens, -burst)
redis.call("HSET", KEYS[1], "left", string.format("%.9f", left), "at", string.format("%.3f", now))
redis.call("PEXPIRE", KEYS[1], math.ceil((burst - left) / per_ms) + 1)
return string.format("%.9f", left)`;

/** ioredis' own types have no commands that were defined. */
type WithDebit = RedisConnection["client"] & {
  toolyardDebit(key: string, burst: number, perMs: number, tokens: number): Promise<string>;
};

interface Debt {
  /** Taken here, and not yet told. */
  tokens: number;
  telling: Promise<void> | null;
}

/** Buckets that the processes on one Redis share. While it is away, each process limits for itself. */
export function sharedTokenBuckets(redis: RedisConnection, clock: () => number = Date.now): CreateTokenBuckets {
  redis.client.defineCommand("toolyardDebit", { numberOfKeys: 1, lua: DEBIT });
  // Defined above.
  const client = redis.client as WithDebit;

  return ({ name, ...options }): TokenBuckets => {
    const { burst, perMinute, maxKeys } = options;
    const local = createTokenBuckets(options);
    const debts = new Map<string, Debt>();
    // Keys may hold what nobody else should read, such as addresses.
    const nameOf = (key: string) =>
      `${redis.keyPrefix}:rate:${name}:${createHash("sha256").update(key).digest("base64url")}`;

    /** One command at a time for each key, whatever is taken meanwhile. */
    function tell(key: string, tokens: number): Promise<void> {
      const debt = debts.get(key) ?? { tokens: 0, telling: null };
      debt.tokens += tokens;
      // What is on its way was asked for before, so `learn` asks once more.
      if (debt.telling) return debt.telling.then(() => (tokens === 0 ? tell(key, 0) : undefined));
      if (redis.isAway || debts.size >= maxKeys) return Promise.resolve();
      debts.set(key, debt);
      const { tokens: told } = debt;
      debt.tokens = 0;
      debt.telling = client
        .toolyardDebit(nameOf(key), burst, perMinute / 60_000, told)
        .then((left) => local.set(key, Number(left) - debt.tokens, clock()), redis.failed)
        .then(() => {
          debt.telling = null;
          debts.delete(key);
          return debt.tokens > 0 ? tell(key, debt.tokens) : undefined;
        });
      return debt.telling;
    }

    return {
      left: local.left,
      waitMs: local.waitMs,
      take(key, now, tokens = 1) {
        const waitMs = local.take(key, now, tokens);
        if (waitMs === 0) void tell(key, tokens);
        return waitMs;
      },
      fill(key) {
        local.fill(key);
        if (!redis.isAway) client.del(nameOf(key)).catch(redis.failed);
      },
      learn: (key) => tell(key, 0),
    };
  };
}
