import { createHash } from "node:crypto";
import { ToolyardError } from "@toolyard/service-kit";

/** Failures at once, and milliseconds until one more is allowed. */
const LIMITS = {
  /** Of a username from one client: ten in five minutes. */
  pair: { burst: 10, refillMs: 30_000 },
  /** Of a username from everywhere: NIST SP 800-63B (3.2.2) allows 100 failures in a row. */
  username: { burst: 100, refillMs: 3_000 },
  /** From one client, whatever the username. */
  client: { burst: 50, refillMs: 6_000 },
  /** In all: bounds what trying passwords costs this host; it recovers within a moment once a flood ends. */
  all: { burst: 500, refillMs: 200 },
};
const MAX_BUCKETS = 50_000;

/**
 * Slows down guessing. Attempts are counted for a username together with where they come from, so that an attacker elsewhere
 * does not keep the user out; and, more loosely, for the username, for the client and in all. Nobody is locked out for longer than
 * it takes one attempt to come back; who has a session or a key is not concerned.
 */
export interface LoginLimiter {
  /**
   * Counts an attempt before it is made, so that many at once cannot pass together.
   * @param client The client's address; null when it is not known.
   * @throws ToolyardError RATE_LIMITED with retryAfterSeconds.
   */
  attempt(username: string, client: string | null): Attempt;
}

export interface Attempt {
  /** The password was right: the failures of this username from this client are forgotten. */
  succeeded(): void;
  /** The attempt was not made after all. */
  withdrawn(): void;
}

interface Bucket {
  /** Attempts left as of `at`. */
  left: number;
  at: number;
}

export function createLoginLimiter(options: { enabled: boolean; now?: () => number }): LoginLimiter {
  const { enabled, now = Date.now } = options;
  const pairs = createBuckets({ ...LIMITS.pair, now });
  const usernames = createBuckets({ ...LIMITS.username, now });
  const clients = createBuckets({ ...LIMITS.client, now });
  const all = createBuckets({ ...LIMITS.all, now });
  return {
    attempt(username, client) {
      if (!enabled) return { succeeded() {}, withdrawn() {} };
      // Hashed, so that a username of a megabyte takes no more room than another.
      const name = createHash("sha256").update(username.toLowerCase()).digest("base64url");
      const pair = `${name} ${client ?? ""}`;
      const counted: [Buckets, string][] = [
        [pairs, pair],
        [usernames, name],
        ...(client === null ? [] : ([[clients, client]] satisfies [Buckets, string][])),
        [all, ""],
      ];
      const waitMs = Math.max(...counted.map(([buckets, key]) => buckets.waitMs(key)));
      if (waitMs > 0) {
        const retryAfterSeconds = Math.ceil(waitMs / 1000);
        throw new ToolyardError("RATE_LIMITED", `Too many failed attempts. Try again in ${retryAfterSeconds} s.`, {
          retryAfterSeconds,
        });
      }
      for (const [buckets, key] of counted) buckets.take(key);
      const withdrawn = () => {
        for (const [buckets, key] of counted) buckets.giveBack(key);
      };
      return {
        withdrawn,
        succeeded() {
          withdrawn();
          pairs.forget(pair);
        },
      };
    },
  };
}

type Buckets = ReturnType<typeof createBuckets>;

function createBuckets(options: { burst: number; refillMs: number; now: () => number }) {
  const { burst, refillMs, now } = options;
  const buckets = new Map<string, Bucket>();
  const read = (key: string): Bucket => {
    const bucket = buckets.get(key);
    const at = now();
    return bucket ? { left: Math.min(burst, bucket.left + (at - bucket.at) / refillMs), at } : { left: burst, at };
  };
  const write = (key: string, bucket: Bucket) => {
    buckets.delete(key);
    if (bucket.left >= burst) return;
    buckets.set(key, bucket);
    // In order of the last attempt: the first are those that have recovered the most.
    for (const [oldest, { left, at }] of buckets) {
      if (buckets.size <= MAX_BUCKETS && left + (now() - at) / refillMs < burst) break;
      buckets.delete(oldest);
    }
  };
  return {
    waitMs(key: string): number {
      const { left } = read(key);
      return left >= 1 ? 0 : (1 - left) * refillMs;
    },
    take(key: string) {
      const { left, at } = read(key);
      write(key, { left: left - 1, at });
    },
    giveBack(key: string) {
      const { left, at } = read(key);
      write(key, { left: left + 1, at });
    },
    forget(key: string) {
      buckets.delete(key);
    },
  };
}
