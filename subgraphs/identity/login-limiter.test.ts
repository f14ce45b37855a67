import { sharedTokenBuckets } from "@toolyard/rate-limits";
import { ToolyardError } from "@toolyard/service-kit";
import { describeOnRedis, isThere, withRedis } from "@toolyard/testing/redis.ts";
import { describe, expect, test } from "vitest";
import { createLoginLimiter, type LoginLimiter } from "./login-limiter.ts";

function start() {
  let time = 1_000_000;
  const limiter = createLoginLimiter({ enabled: true, now: () => time });
  return {
    limiter,
    advance: (ms: number) => void (time += ms),
    /** Seconds to wait; 0 when a failed attempt was allowed. */
    attempt: (username: string, client: string | null = null): Promise<number> =>
      secondsOf(async () => (await limiter.attempt(username, client)).failed()),
    registration: (client: string | null) => secondsOf(async () => limiter.registration(client)),
  };
}

async function secondsOf(work: () => Promise<void>): Promise<number> {
  try {
    await work();
    return 0;
  } catch (error) {
    if (!(error instanceof ToolyardError)) throw error;
    return Number(error.extensions.retryAfterSeconds);
  }
}

describe("the login limiter", () => {
  test("allows ten failures, then one each half minute", async () => {
    const { attempt, advance } = start();
    for (let n = 0; n < 10; n++) expect(await attempt("ada")).toBe(0);
    expect(await attempt("ADA")).toBe(30);
    advance(29_000);
    expect(await attempt("ada")).toBe(1);
    advance(1_000);
    expect(await attempt("ada")).toBe(0);
    expect(await attempt("ada")).toBe(30);
    advance(300_000);
    for (let n = 0; n < 10; n++) expect(await attempt("ada")).toBe(0);
  });

  test("counts attempts before they end, so that many at once do not pass together", async () => {
    const { attempt } = start();
    const waits = await Promise.all(Array.from({ length: 200 }, () => attempt("ada")));
    expect(waits.filter((wait) => wait === 0)).toHaveLength(10);
  });

  test("takes right attempts at once for no failures: those that would be too many wait for the others", async () => {
    const { limiter } = start();
    let running = 0;
    let most = 0;
    const login = async () => {
      const attempt = await limiter.attempt("ada", "192.0.2.1");
      most = Math.max(most, ++running);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      attempt.succeeded();
    };
    await Promise.all(Array.from({ length: 100 }, login));
    expect(most).toBe(10);
  });

  test("gives back what was reserved, however an attempt ends", async () => {
    const { limiter, attempt } = start();
    for (let n = 0; n < 100; n++) (await limiter.attempt("ada", null)).withdrawn();
    for (let n = 0; n < 10; n++) expect(await attempt("ada")).toBe(0);
    expect(await attempt("ada")).toBe(30);
  });

  test("keeps a bounded number waiting", async () => {
    const { limiter } = start();
    const running = await Promise.all(Array.from({ length: 10 }, () => limiter.attempt("ada", null)));
    const others = Array.from({ length: 1000 }, () => limiter.attempt("ada", null).then((other) => other.withdrawn()));
    const refused = others.map((other) => other.catch((error: unknown) => error));
    for (const attempt of running) attempt.withdrawn();
    const codes = (await Promise.all(refused)).filter((error) => error instanceof ToolyardError);
    expect(codes).toHaveLength(1000 - 256);
  });

  test("takes no longer for a username of megabytes", async () => {
    const { attempt } = start();
    const endless = "ß".repeat(20_000_000);
    for (let n = 0; n < 10; n++) expect(await attempt(endless)).toBe(0);
    expect(await attempt(endless)).toBe(30);
  });

  test("counts registrations for each client, and an IPv6 network as one", async () => {
    const { registration, advance } = start();
    const from = async (address: (n: number) => string, count: number) =>
      (await Promise.all(Array.from({ length: count }, (_, n) => registration(address(n))))).filter(
        (wait) => wait === 0,
      );
    expect(await from(() => "192.0.2.1", 100)).toHaveLength(50);
    expect(await from((n) => `2001:db8:0:1::${n.toString(16)}`, 100)).toHaveLength(50);
    expect(await from(() => "::ffff:192.0.2.1", 1)).toHaveLength(0);
    expect(await from(() => "198.51.100.7", 1)).toHaveLength(1);
    expect(await from((n) => `203.0.113.${n}`, 255)).toHaveLength(300 - 101);
    advance(30_000);
    expect(await registration("192.0.2.1")).toBe(0);
  });

  test("does not keep a user out for what somebody else does elsewhere", async () => {
    const { attempt } = start();
    for (let n = 0; n < 50; n++) await attempt("ada", "192.0.2.1");
    expect(await attempt("ada", "192.0.2.1")).toBeGreaterThan(0);
    expect(await attempt("ada", "198.51.100.7")).toBe(0);
  });

  test("bounds what a crowd guesses of one username to a hundred, and never waits longer than seconds then", async () => {
    const { attempt } = start();
    const crowd: number[] = [];
    for (let n = 0; n < 1000; n++) crowd.push(await attempt("ada", `192.0.2.${n}`));
    expect(crowd.filter((wait) => wait === 0)).toHaveLength(100);
    expect(Math.max(...crowd)).toBe(3);
    expect(await attempt("grace", "192.0.2.1")).toBe(0);
  });

  test("bounds what one client tries over many usernames, and what everybody tries", async () => {
    const { attempt, advance } = start();
    const spray = async (client: string | null) => {
      let allowed = 0;
      for (let n = 0; n < 1000; n++) if ((await attempt(`user${n}`, client)) === 0) allowed += 1;
      return allowed;
    };
    expect(await spray("192.0.2.1")).toBe(50);
    expect(await spray("192.0.2.2")).toBe(50);
    expect(await spray(null)).toBe(400);
    expect(await attempt("ada", "198.51.100.7")).toBe(1);
    advance(1_000);
    expect(await attempt("ada", "198.51.100.7")).toBe(0);
  });

  test("forgets failures once the password was right", async () => {
    const { limiter, attempt } = start();
    for (let n = 0; n < 9; n++) await attempt("ada");
    (await limiter.attempt("ada", null)).succeeded();
    for (let n = 0; n < 10; n++) expect(await attempt("ada")).toBe(0);
  });
});

describeOnRedis("the login limiters of two processes on Redis", () => {
  test("count failures together, and forget them together when the password was right", () =>
    withRedis(async (open) => {
      const limiters = await Promise.all(
        [open(), open()].map(async (redis) => {
          await isThere(redis);
          return createLoginLimiter({ enabled: true, createBuckets: sharedTokenBuckets(redis) });
        }),
      );
      const [one, other] = limiters as [LoginLimiter, LoginLimiter]; // of two connections
      const fail = (limiter: LoginLimiter) =>
        secondsOf(async () => (await limiter.attempt("ada", "192.0.2.1")).failed());
      for (let n = 0; n < 5; n++) for (const limiter of limiters) expect(await fail(limiter)).toBe(0);
      for (const limiter of limiters) expect(await fail(limiter)).toBeGreaterThan(0);
      // From elsewhere ada herself can log in.
      (await other.attempt("ada", "198.51.100.1")).succeeded();
      const ben = () => one.attempt("ben", "198.51.100.1");
      for (let n = 0; n < 9; n++) (await ben()).failed();
      (await other.attempt("ben", "198.51.100.1")).succeeded();
      for (let n = 0; n < 10; n++) (await ben()).failed();
      await expect(ben()).rejects.toThrow("Too many failed attempts");
    }));
});
