import { createHash } from "node:crypto";
import { ToolyardError } from "@toolyard/service-kit";
import { addressBlock } from "@toolyard/service-kit/http/hosts.ts";
import { createTokenBuckets, wholeSeconds, type CreateTokenBuckets } from "@toolyard/rate-limits";

/** How many at once, and milliseconds until one more is allowed. */
const LIMITS = {
  /** Failures of a username from one client. */
  pair: { burst: 10, refillMs: 30_000 },
  /** Failures of a username from everywhere: NIST SP 800-63B (3.2.2) allows 100 in a row. */
  username: { burst: 100, refillMs: 3_000 },
  /** Failures from one client, whatever the username. */
  client: { burst: 50, refillMs: 6_000 },
  /** Failures in all: bounds the cost of password guesses to this host; it recovers within a moment once a flood ends. */
  all: { burst: 500, refillMs: 200 },
  /** Registrations from one client, successful or not: enough for an office on its first day. */
  registrations: { burst: 50, refillMs: 30_000 },
  /** Registrations in all. */
  allRegistrations: { burst: 300, refillMs: 2_000 },
};
const MAX_BUCKETS = 50_000;
/** Attempts that may wait for the outcome of others. */
const MAX_WAITING = 256;
/** No username is longer. */
const MAX_USERNAME_LENGTH = 64;

/**
 * Slows down guessing. Failures are counted for each pair of username and client, so that an attacker elsewhere does not lock the user
 * out; and, with higher limits, for the username, for the client and in all. A lockout ends as soon as one attempt is allowed again.
 * Sessions and API keys are not affected. Registrations are counted for each client.
 */
export interface LoginLimiter {
  /**
   * Begins an attempt. Running attempts count as failures until they end, so that many cannot pass together. An attempt that would be
   * one too many only if all running ones failed waits for them.
   * @param client The client's address; null when it is not known.
   * @throws ToolyardError RATE_LIMITED with retryAfterSeconds.
   */
  attempt(username: string, client: string | null): Promise<Attempt>;
  /** Counts one. @throws ToolyardError RATE_LIMITED with retryAfterSeconds. */
  registration(client: string | null): void;
}

/** Takes the outcome of an attempt, once. */
interface Attempt {
  /** The password was right: the failures of this username from this client are forgotten. */
  succeeded(): void;
  failed(): void;
  /** The password was not checked. */
  withdrawn(): void;
}

export function createLoginLimiter(options: {
  enabled: boolean;
  /** In memory unless given. */
  createBuckets?: CreateTokenBuckets;
  now?: () => number;
}): LoginLimiter {
  const { enabled, createBuckets = createTokenBuckets, now = Date.now } = options;
  const bucketsOf = (name: keyof typeof LIMITS) => createReservable(createBuckets, name, now);
  const pairs = bucketsOf("pair");
  const usernames = bucketsOf("username");
  const clients = bucketsOf("client");
  const all = bucketsOf("all");
  const registrations = bucketsOf("registrations");
  const allRegistrations = bucketsOf("allRegistrations");
  /** Of attempts that wait for those that run, the first first. */
  let waiting: (() => void)[] = [];

  function refuseUntil(counted: readonly Counted[], what: string): void {
    const waitMs = Math.max(...counted.map(([buckets, key]) => buckets.waitMs(key)));
    if (waitMs > 0) throw tooMany(what, wholeSeconds(waitMs));
  }

  return {
    async attempt(username, client) {
      if (!enabled) return { succeeded() {}, failed() {}, withdrawn() {} };
      const name = createHash("sha256")
        .update(username.slice(0, MAX_USERNAME_LENGTH + 1).toLowerCase())
        .digest("base64url");
      const from = client === null ? null : addressBlock(client);
      const pair = `${name} ${from ?? ""}`;
      const counted: Counted[] = [
        [pairs, pair],
        [usernames, name],
        ...(from === null ? [] : ([[clients, from]] satisfies Counted[])),
        [all, ""],
      ];
      // Failures elsewhere. Attempts that run elsewhere are known when they have failed.
      const learning = counted.map(([buckets, key]) => buckets.learn(key)).filter((each) => each !== null);
      if (learning.length > 0) await Promise.all(learning);
      for (;;) {
        refuseUntil(counted, "failed attempts");
        if (counted.every(([buckets, key]) => buckets.hasRoom(key))) break;
        if (waiting.length >= MAX_WAITING) throw tooMany("attempts at once", 1);
        await new Promise<void>((resolve) => waiting.push(resolve));
      }
      for (const [buckets, key] of counted) buckets.reserve(key);
      const end = (settle: () => void) => {
        for (const [buckets, key] of counted) buckets.release(key);
        settle();
        const woken = waiting;
        waiting = [];
        for (const wake of woken) wake();
      };
      return {
        succeeded: () => end(() => pairs.fill(pair)),
        failed: () =>
          end(() => {
            for (const [buckets, key] of counted) buckets.take(key);
          }),
        withdrawn: () => end(() => undefined),
      };
    },
    registration(client) {
      if (!enabled) return;
      const counted: Counted[] = [
        ...(client === null ? [] : ([[registrations, addressBlock(client)]] satisfies Counted[])),
        [allRegistrations, ""],
      ];
      refuseUntil(counted, "registrations from here");
      for (const [buckets, key] of counted) buckets.take(key);
    },
  };
}

type Buckets = ReturnType<typeof createReservable>;
type Counted = [Buckets, string];

function tooMany(what: string, retryAfterSeconds: number): ToolyardError {
  return new ToolyardError("RATE_LIMITED", `Too many ${what}. Try again in ${retryAfterSeconds} s.`, {
    retryAfterSeconds,
  });
}

function createReservable(createBuckets: CreateTokenBuckets, name: keyof typeof LIMITS, now: () => number) {
  const { burst, refillMs } = LIMITS[name];
  const buckets = createBuckets({ name: `login-${name}`, burst, perMinute: 60_000 / refillMs, maxKeys: MAX_BUCKETS });
  /** How much of the allowance is taken if all running attempts fail. */
  const reserved = new Map<string, number>();
  return {
    waitMs: (key: string) => buckets.waitMs(key, now()),
    hasRoom: (key: string) => buckets.left(key, now()) - (reserved.get(key) ?? 0) >= 1,
    reserve(key: string) {
      reserved.set(key, (reserved.get(key) ?? 0) + 1);
    },
    release(key: string) {
      const left = (reserved.get(key) ?? 0) - 1;
      if (left > 0) reserved.set(key, left);
      else reserved.delete(key);
    },
    take: (key: string) => void buckets.take(key, now()),
    fill: buckets.fill,
    learn: buckets.learn,
  };
}
